"""Films: of the artifact itself, of the episode that was evaluated, honest about both, and never a reason to fail."""

from __future__ import annotations

import base64
import io
import json
import re
from pathlib import Path
from unittest.mock import Mock

import pytest

from pilotfish.errors import BadInput, MissingTool, PilotfishError, Unsupported
from pilotfish.policy import trust_env
from pilotfish.runtime.artifact import RESULTS, Artifact
from pilotfish.runtime.evaluate import evaluate
from pilotfish.runtime.film import FILM, MAX_BYTES, film, film_or_say
from pilotfish.runtime.report import write_report

pytest.importorskip("gymnasium", reason="gymnasium is not installed")
Image = pytest.importorskip("PIL.Image", reason="pillow is not installed")

FLICKER = """
import gymnasium, numpy as np
class Flicker(gymnasium.Env):
    metadata = {"render_modes": ["rgb_array"]}
    observation_space = gymnasium.spaces.Box(-1, 1, (3,), np.float32)
    action_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    dt = 0.05
    def __init__(self, render_mode=None):
        self.render_mode = render_mode
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t, self.last = 0, 0.0
        return self._seen(), {}
    def _seen(self):
        return self.np_random.uniform(-1, 1, 3).astype(np.float32)
    def step(self, action):
        self.t, self.last = self.t + 1, float(action[0])
        return self._seen(), float(action.sum()), False, self.t >= 40, {}
    def render(self):
        frame = np.zeros((200, 640, 3), np.uint8)
        frame[:, : 16 * self.t] = 255
        frame[:100, :, 0] = int(127 * (1 + self.last))
        return frame
"""


@pytest.fixture
def flicker(build, policy_of, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Artifact:
    """An artifact for an environment that draws without OpenGL: a bar that grows by 16 pixels a step."""
    (tmp_path / "pilotfish_flicker.py").write_text(FLICKER)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("PILOTFISH_TRUST_ENV", "")
    trust_env("pilotfish_flicker:Flicker")
    return build(policy_of(inputs=3, outputs=2, env="pilotfish_flicker:Flicker"))


def test_the_film_shows_the_evaluated_episode_with_the_median_return(flicker: Artifact, tmp_path: Path) -> None:
    evaluated = evaluate(flicker, episodes=5, seed=30)
    made = film(flicker)
    by_return = sorted(evaluated["seeds"], key=lambda seed: evaluated["returns"][seed - 30])
    assert made["seed"] == by_return[2] and "median return of the 5" in made["chosen"]
    assert made["figures"]["return"]["value"] == made["evaluated_return"] == evaluated["returns"][made["seed"] - 30]
    assert made["decisions"] == 40 and made["episode_s"] == 2.0 == made["shown_s"]
    content = (flicker.path / RESULTS / FILM).read_bytes()
    assert len(content) == made["bytes"] <= MAX_BYTES

    picture = Image.open(io.BytesIO(content))
    assert picture.size == (320, 100) and picture.n_frames == made["frames"] == 21  # every second of 40 steps, and the reset
    widths = []
    for index in range(picture.n_frames):
        picture.seek(index)
        row = [picture.convert("RGB").getpixel((x, 75))[1] > 127 for x in range(320)]
        widths.append(sum(row))
    assert widths == pytest.approx([16 * index for index in range(21)], abs=2)  # half size, two steps a frame

    page = tmp_path / "report.html"
    report = write_report([flicker], page)
    text = page.read_text()
    (inside,) = re.findall(r'src="data:image/webp;base64,([^"]+)"', text)
    assert base64.b64decode(inside) == content
    assert f"seed {made['seed']}" in text and "with the same return as there" in text
    assert report["artifacts"][0]["film"]["as_evaluated"] is True and "base64" not in (tmp_path / "report.json").read_text()


def test_the_film_is_flown_as_the_evaluation_was(flicker: Artifact) -> None:
    """Behind the guard, late, and with late decisions dropped: each of them changes the return, and the film's with it."""
    from pilotfish.policy.guard_table import GUARD_FILE, dumped, guard_table

    plain = evaluate(flicker, episodes=1, seed=30)["returns"]
    (flicker.path / GUARD_FILE).write_text(dumped(guard_table(flicker.manifest.contract, {"action": {"high": 0.05}})))
    seen = {tuple(plain)}
    for settings in ({}, {"latency": 30_000.0}, {"latency": 70_000.0, "late": "drop"}):
        evaluated = evaluate(flicker, episodes=1, seed=30, **settings)
        made = film(flicker, **settings)
        assert made["figures"]["return"]["value"] == made["evaluated_return"] == evaluated["returns"][0]
        assert made["guard"] == evaluated["guard"] and made["guard"]["steps"] == 40 and made["guard"]["clamped"] > 0
        assert made["env"] == evaluated.get("scene", "pilotfish_flicker:Flicker")
        seen.add(tuple(evaluated["returns"]))
    assert len(seen) == 4
    with pytest.raises(PilotfishError, match="a bench of this very artifact"):
        film(flicker, latency="measured")


def test_a_film_that_returned_something_else_says_so(flicker: Artifact, tmp_path: Path) -> None:
    evaluate(flicker, episodes=2, seed=5)
    film(flicker, seed=6)
    path = flicker.path / RESULTS / "film.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"evaluated_return": 123.5}))
    write_report([flicker], tmp_path / "report.html")
    assert "there it returned 123.5" in (tmp_path / "report.html").read_text()


def test_a_film_that_is_not_the_one_described_is_refused(flicker: Artifact, tmp_path: Path) -> None:
    film(flicker, seed=1)
    path = flicker.path / RESULTS / FILM
    content = path.read_bytes()
    write_report([flicker], tmp_path / "report.html")
    for damaged in (content + b" ", b"<svg onload=alert(1)>", content.ljust(MAX_BYTES + 1), None):
        path.unlink() if damaged is None else path.write_bytes(damaged)
        with pytest.raises(BadInput, match="film"):
            write_report([flicker], tmp_path / "report.html")


def test_an_environment_without_pictures_is_refused_in_words(build, policy_of, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    from pilotfish.policy.environment import make_env

    env = make_env("pilotfish/Quadrotor-v0")
    policy = policy_of(inputs=env.observation_space.shape[0], outputs=4, env="pilotfish/Quadrotor-v0")
    env.close()
    artifact = build(policy)
    with pytest.raises(Unsupported, match=r"expected one that renders images .*found render modes \(none\)") as refusal:
        film(artifact, seed=0)
    monkeypatch.setattr("pilotfish.runtime.film.film", Mock(side_effect=refusal.value))
    said: list[str] = []
    assert film_or_say(artifact, said.append, seed=0) is None
    assert len(said) == 1 and said[0].startswith(f"no film of {artifact.label}: ") and "\n" not in said[0]


def test_without_opengl_one_line_says_so(build, policy_of, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("mujoco", reason="mujoco is not installed")
    artifact = build(policy_of(inputs=4, outputs=1, env="InvertedPendulum-v5", normalizer=False))
    monkeypatch.setenv("MUJOCO_GL", "glfw")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(MissingTool, match=r"no OpenGL to render with \(glfw: .*apt install libegl1"):
        film(artifact, seed=0)
    assert not (artifact.path / RESULTS / FILM).exists()


def test_mujoco_is_filmed_where_it_can_render(build, policy_of) -> None:
    pytest.importorskip("mujoco", reason="mujoco is not installed")
    artifact = build(policy_of(inputs=4, outputs=1, env="InvertedPendulum-v5", normalizer=False))
    try:
        made = film(artifact, seed=3)
    except MissingTool as absence:
        pytest.skip(str(absence))
    picture = Image.open(artifact.path / RESULTS / FILM)
    assert picture.size == (320, 240)
    assert len(set(picture.convert("L").tobytes())) > 20, "the picture is empty"
    assert made["decisions"] >= 1 and made["graphics"]
