"""The child process that flies an artifact and renders it: an order on standard input, one line of JSON as its answer."""

from __future__ import annotations

import io
import json
import os
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from PIL import Image

from ..errors import MissingTool, PilotfishError, Unsupported
from ..policy.environment import check_env, control_hz, make_env
from ..policy.scene import scene_of
from ..targets.reach import LINK
from .artifact import Artifact
from .behind_guard import guard_of
from .flight import delays, take_off
from .place import is_remote
from .play import play

SHOWN_S = 6.0
"""Seconds of the episode that are kept: a gait has repeated by then, and a fast robot has not left the floor that is drawn."""
FRAMES_PER_S = 12.0
WIDTH, HEIGHT = 320, 240
QUALITIES = (80, 60, 40, 20)
"""Of WebP, tried in order until the film is small enough."""


class _NoGraphics(Exception):
    """This graphics library does not render here; another one may."""


class Camera(gymnasium.Wrapper):
    """Keeps a picture of every so-many-th decision's outcome, until the film is full."""

    def __init__(self, env: gymnasium.Env, every: int, most: int) -> None:
        super().__init__(env)
        self.every, self.most = every, most
        self.frames: list[np.ndarray] = []
        self._count = 0

    def _shoot(self) -> None:
        if self._count % self.every == 0 and len(self.frames) < self.most:
            self.frames.append(np.asarray(self.env.render(), np.uint8))
        self._count += 1

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        """The first picture."""
        found = self.env.reset(**options)
        self._count, self.frames = 0, []
        self._shoot()
        return found

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Perhaps one more."""
        found = self.env.step(action)
        self._shoot()
        return found


def shoot(order: dict[str, Any]) -> dict[str, Any]:
    """Fly and film as ordered; writes the film and returns what it shows."""
    artifact = Artifact.load(order["artifact"]).reached_by(LINK.validate_python(order["link"]))
    contract = artifact.manifest.contract
    scene = scene_of(contract, order["env"], **delays(order["observation_delay"], order["latency"], artifact, order["late"]))
    with closing(make_env(scene, disable_env_checker=True)) as plain:
        check_env(contract, plain)
        modes = plain.metadata.get("render_modes", [])
        if "rgb_array" not in modes:
            raise Unsupported(
                f"environment {order['env']!r}", expected='one that renders images (render mode "rgb_array")',
                found=f"render modes {', '.join(map(str, modes)) or '(none)'}",
            )  # fmt: skip
        hz = control_hz(plain) or float(plain.metadata.get("render_fps") or 30.0)
        options = _mujoco_options(plain.unwrapped)
    with closing(make_env(scene, disable_env_checker=True, render_mode="rgb_array", **options)) as world:
        try:
            world.reset(seed=order["seed"])
            first = world.render()
        except Exception as error:  # every graphics library fails in its own way, and none of it concerns the artifact
            reason = " ".join(f"{type(error).__name__}: {error}".split())[:160]
            if not options:  # it draws without OpenGL: no other library would help
                raise MissingTool(f"environment {order['env']!r} does not render here: {reason}") from error
            raise _NoGraphics(reason) from error
        if not isinstance(first, np.ndarray) or first.ndim != 3 or first.shape[2] != 3:
            raise Unsupported(f"environment {order['env']!r}", expected="pictures [height, width, 3]", found=f"{type(first)}")
        every = max(1, round(hz / FRAMES_PER_S))
        camera = Camera(world, every, int(SHOWN_S * hz / every) + 1)
        artifact, session = take_off(artifact, trust=order["trust"], latency=order["latency"], here=order["here"])
        with closing(session):
            total, decisions = play(session, camera, contract, order["seed"])
        guard = guard_of(session)
    frames_per_s = hz / every
    pictures = [_fitted(frame) for frame in camera.frames]
    content, quality = _encoded(pictures, round(1000 / frames_per_s), order["max_bytes"])
    Path(order["output"]).write_bytes(content)
    return {
        "flown_here": not is_remote(artifact),
        "guard": guard.counters if guard else {},
        "return": total,
        "decisions": decisions,
        "env": str(scene),
        "episode_s": decisions / hz,
        "shown_s": min(len(pictures) / frames_per_s, decisions / hz),
        "frames": len(pictures),
        "frames_per_s": frames_per_s,
        "width": pictures[0].width,
        "height": pictures[0].height,
        "quality": quality,
        "graphics": os.environ.get("MUJOCO_GL", "") if options else "the environment's own",
    }


def _mujoco_options(env: Any) -> dict[str, Any]:
    """Size, and the camera that follows the robot where the model has one: Gymnasium's own default lets it run out of sight."""
    if not type(env).__module__.startswith("gymnasium.envs.mujoco"):
        return {}
    cameras = [env.model.camera(index).name for index in range(env.model.ncam)]
    return {"width": WIDTH, "height": HEIGHT} | ({"camera_name": "track"} if "track" in cameras else {})


def _fitted(frame: np.ndarray) -> Image.Image:
    """No wider than the film."""
    picture = Image.fromarray(frame)
    if picture.width > WIDTH:
        picture = picture.resize((WIDTH, max(1, round(picture.height * WIDTH / picture.width))), Image.Resampling.LANCZOS)
    return picture


def _encoded(pictures: list[Image.Image], frame_ms: int, max_bytes: int) -> tuple[bytes, int]:
    """(animated WebP, quality): as good as fits; Unsupported where even the worst does not."""
    for quality in QUALITIES:
        buffer = io.BytesIO()
        pictures[0].save(
            buffer, "WEBP", save_all=True, append_images=pictures[1:], duration=frame_ms, loop=0, quality=quality, method=4
        )
        if buffer.tell() <= max_bytes:
            return buffer.getvalue(), quality
    raise Unsupported("film", expected=f"at most {max_bytes:,} bytes", found=f"{buffer.tell():,} at the lowest quality")


def main() -> int:
    """Take the order from standard input, answer on standard output."""
    order = json.load(sys.stdin)
    sys.path += [folder for folder in order["path"] if folder not in sys.path]  # where the user's own environment is found
    try:
        said: dict[str, Any] = shoot(order)
    except _NoGraphics as error:
        said = {"graphics": str(error)}
    except PilotfishError as error:
        kinds = [kind.__name__ for kind in type(error).__mro__]
        kind = next((name for name in ("MissingTool", "Unsupported") if name in kinds), "")
        said = {"error": str(error), "kind": kind, "code": error.exit_code}
    sys.stdout.write("\n" + json.dumps(said) + "\n")
    return 0 if "return" in said else 1


if __name__ == "__main__":
    sys.exit(main())
