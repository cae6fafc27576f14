"""A short film of the artifact flying one episode, for the report; rendered by :mod:`pilotfish.runtime.filming`.

A graphics driver that is missing or broken can take its whole process with it, and MuJoCo chooses its graphics library
when it is imported: so a child process renders, and this one only hears how it went.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from .. import sealed
from ..errors import BadInput, MissingTool, PilotfishError, Unreachable, Unsupported, require
from ..figure import Figure
from ..targets.reach import LINK, LocalLink
from .artifact import RESULTS, Artifact
from .place import is_remote, source_of
from .results import device_of, result

FILM = "film.webp"
"""Its name among the results; results/film.json says what it shows."""
MAX_BYTES = 2_000_000
"""A page that shows a few of them can still be sent by mail."""
LIMIT_S = 1800.0
"""A child that takes longer is taken for stuck."""


def film(
    artifact: Artifact,
    *,
    env: str | None = None,
    seed: int | None = None,
    trust: bool = False,
    observation_delay: int | tuple[int, int] | None = None,
    latency: float | str | None = None,
    late: Literal["obey", "drop"] = "obey",
    here: bool | None = None,
) -> dict[str, Any]:
    """Fly one episode with the artifact itself and keep its first seconds as an animated WebP beside the results.

    ``seed``: default, that of the evaluated episode with the median return (the lower one of two), which is neither the best
    nor the worst; without an evaluation 10,000. ``observation_delay``, ``latency``, ``late`` and ``here``: as they were
    evaluated, see :func:`pilotfish.runtime.evaluate.evaluate`; a guarded artifact is filmed behind its guard, too. The return
    is the whole episode's. Stores and returns the result.
    Raises MissingTool without Pillow or without a working OpenGL, Unsupported for an environment that renders no images, and
    what flying the artifact raises.
    """
    require("PIL", "video")
    env_id = env or artifact.manifest.contract.provenance.env
    if env_id is None:
        raise BadInput(
            artifact.path, expected="an environment to film", found="none in its contract", repair="Name one with --env"
        )
    evaluated = _evaluated(artifact, env_id)
    chosen, why = seed, "the seed that was asked for"
    if chosen is None and evaluated:
        chosen = sorted(evaluated, key=lambda one: (evaluated[one], one))[(len(evaluated) - 1) // 2]
        why = f"the episode with the median return of the {len(evaluated)} evaluated"
    elif chosen is None:
        chosen, why = 10_000, "no evaluation to choose an episode from"
    with tempfile.TemporaryDirectory(prefix="pilotfish-film-") as folder:
        output = Path(folder) / FILM
        order = {"artifact": str(artifact.path), "env": env_id, "seed": chosen, "trust": trust, "output": str(output)}
        order |= {"observation_delay": observation_delay, "latency": latency, "late": late, "here": here}
        order |= {"link": LINK.dump_python(artifact.manifest.target.link, mode="json")}
        said = _rendered(order | {"max_bytes": MAX_BYTES, "path": sys.path})
        content = output.read_bytes()
    if said.pop("flown_here"):
        artifact = artifact.reached_by(LocalLink()) if is_remote(artifact) else artifact
    total, length = float(said.pop("return")), int(said.pop("decisions"))
    kept = {"bytes": len(content), "sha256": sealed.sha256_bytes(content), "decisions": length, "seed": chosen, "chosen": why}
    flown = Figure(total, "return", source_of(artifact), 1, device=device_of(artifact), note="the filmed episode, whole")
    data = result(artifact, {"return": flown}, **said, **kept, evaluated_return=evaluated.get(chosen))
    sealed.write_atomic(artifact.path / RESULTS / FILM, content)
    artifact.store_result("film", data)
    return data


def film_or_say(artifact: Artifact, say: Callable[[str], None], **options: Any) -> dict[str, Any] | None:
    """The same, where a film is welcome and its absence no failure: one line says why there is none."""
    try:
        return film(artifact, **options)
    except (MissingTool, Unsupported) as absence:
        say(f"no film of {artifact.label}: {absence}")
        return None


def _evaluated(artifact: Artifact, env_id: str) -> dict[int, float]:
    """Seed -> return of the stored evaluation in this environment; empty where there is none."""
    stored = artifact.result("evaluate") or {}
    if stored.get("env") != env_id:
        return {}
    return dict(zip(stored.get("seeds", ()), stored.get("returns", ()), strict=False))


def _libraries() -> list[str]:
    """What MuJoCo may try to render with, in order; what the user names is not second-guessed."""
    if named := os.environ.get("MUJOCO_GL"):
        return [named]
    window = os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    return ["egl", *(["glfw"] if window else []), "osmesa"]


def _rendered(order: dict[str, Any]) -> dict[str, Any]:
    """What the child says of the film that it made."""
    failed = []
    for library in _libraries():
        try:
            child = subprocess.run(
                [sys.executable, "-P", "-m", f"{__package__}.filming"],
                input=json.dumps(order),
                capture_output=True,
                text=True,
                timeout=LIMIT_S,
                env=os.environ | {"MUJOCO_GL": library, "SDL_VIDEODRIVER": os.environ.get("SDL_VIDEODRIVER", "dummy")},
            )
        except subprocess.TimeoutExpired as error:
            raise Unreachable(f"rendering took more than {LIMIT_S:.0f} s with MUJOCO_GL={library}") from error
        said = _last_line(child.stdout)
        if "error" in said:
            classes: dict[str, type[PilotfishError]] = {"MissingTool": MissingTool, "Unsupported": _Refused}
            failure = classes.get(said["kind"], PilotfishError)(said["error"])
            failure.exit_code = int(said["code"])
            raise failure
        if child.returncode == 0 and "return" in said:
            return said
        failed.append(f"{library}: {said.get('graphics') or f'the process ended with exit code {child.returncode}'}")
    raise MissingTool(
        f"no OpenGL to render with ({'; '.join(failed)}). On a computer without a screen: apt install libegl1, or libosmesa6 "
        "and MUJOCO_GL=osmesa"
    )


class _Refused(Unsupported):
    """An Unsupported whose sentence was written in the child."""

    def __init__(self, message: str) -> None:
        PilotfishError.__init__(self, message)


def _last_line(text: str) -> dict[str, Any]:
    """The child's answer; libraries may have talked before it."""
    lines = text.strip().splitlines()
    try:
        said = json.loads(lines[-1]) if lines else {}
    except json.JSONDecodeError:
        return {}
    return said if isinstance(said, dict) else {}
