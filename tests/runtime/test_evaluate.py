"""Law: the artifact flies itself, on the same seeds as its reference, and the gate judges the paired return."""

import json

import numpy as np
import pytest

from pilotfish.errors import BadInput, Unsupported
from pilotfish.policy.environment import make_env
from pilotfish.policy.reference import Reference
from pilotfish.runtime import reference_returns as reference_module
from pilotfish.runtime.evaluate import evaluate
from pilotfish.runtime.play import play
from pilotfish.runtime.reference_returns import reference_returns


@pytest.fixture(autouse=True)
def _gymnasium(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("gymnasium")
    monkeypatch.setattr(reference_module, "_played", {})


@pytest.fixture
def cartpole(policy_of):
    return policy_of(discrete=True, inputs=4, outputs=2, env="CartPole-v1", normalizer=False)


@pytest.fixture
def pendulum(policy_of):
    return policy_of(inputs=3, outputs=1, env="Pendulum-v1", normalizer=False)


def test_a_faithful_artifact_keeps_everything(build, cartpole) -> None:
    artifact = build(cartpole)
    seen = []
    data = evaluate(artifact, episodes=5, seed=7, gate=0.97, progress=lambda done, total: seen.append((done, total)))
    assert data["returns"] == data["reference_returns"] and data["seeds"] == [7, 8, 9, 10, 11]
    assert data["figures"]["retained"]["value"] == 1.0 and data["figures"]["difference"]["value"] == 0.0
    assert data["passed"] is True and data["gate"] == 0.97 and data["env"] == "CartPole-v1" and data["episodes"] == 5
    assert data["lengths"] == data["returns"]  # one point per step
    assert data["figures"]["return"]["value"] == pytest.approx(np.mean(data["returns"]))
    assert artifact.result("evaluate") == {"artifact": artifact.digest} | json.loads(json.dumps(data))
    assert seen == [(k, 10) for k in range(1, 11)]


def test_a_worse_artifact_fails_the_gate_against_the_original(build, cartpole) -> None:
    weights = {name: np.zeros_like(tensor) for name, tensor in cartpole.weights.items()}
    stuck = cartpole.replace(name="stuck", weights=weights)  # always pushes left
    good = dict(weights)
    # Pushes to the side that the pole leans and falls to: survives far longer than a stuck one.
    good["first.weight"] = np.zeros_like(weights["first.weight"])
    good["first.weight"][0] = [0.0, 0.1, 1.0, 0.3]
    good["last.weight"] = np.zeros_like(weights["last.weight"])
    good["last.weight"][1, 0] = 1.0
    better = cartpole.replace(name="better", weights=good)
    data = evaluate(build(stuck), episodes=5, gate=0.5, reference=better)
    assert data["passed"] is False and data["reference"] == "better"
    assert data["figures"]["retained"]["value"] < 0.2 and data["figures"]["difference"]["high"] < 0
    assert evaluate(build(stuck), episodes=5, reference=better)["passed"] is True  # no gate, no failure


def test_negative_returns_have_no_ratio(build, pendulum) -> None:
    data = evaluate(build(pendulum, "c"), episodes=3, gate=0.97)
    assert data["figures"]["return"]["value"] < 0
    assert data["figures"]["retained"]["value"] is None and "difference" in data["figures"]["retained"]["note"]
    assert data["passed"] is True


def test_reference_from_a_bundle_and_only_once(build, cartpole, tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    bundle = cartpole.save(tmp_path / "original.policy")
    artifact = build(cartpole)
    first = evaluate(artifact, episodes=3, reference=bundle)
    monkeypatch.setattr(reference_module, "Reference", lambda policy: None)  # flying it again would fail
    again = evaluate(artifact, episodes=3, reference=str(bundle))
    assert again["reference_returns"] == first["reference_returns"]


def test_reference_returns_are_kept_in_a_folder(cartpole, tmp_path) -> None:
    first = reference_returns(cartpole, "CartPole-v1", [1, 2, 3], cache=tmp_path / "kept")
    reference_module._played.clear()
    (path,) = (tmp_path / "kept").iterdir()
    path.write_text(path.read_text().replace(str(first[0][0]), "123.5", 1))
    kept = reference_returns(cartpole, "CartPole-v1", [1, 2], cache=tmp_path / "kept")
    assert 123.5 in kept[0]
    reference_module._played.clear()
    path.write_text("{ torn")
    assert reference_returns(cartpole, "CartPole-v1", [1, 2, 3], cache=tmp_path / "kept") == first


def test_play_is_the_episode_that_gymnasium_runs(cartpole) -> None:
    env, reference = make_env("CartPole-v1"), Reference(cartpole)
    total, length = play(reference, env, cartpole.contract, 3)
    obs, _ = env.reset(seed=3)
    steps, done = 0, False
    while not done:
        obs, _, terminated, truncated, _ = env.step(int(reference.act(obs)[0]))
        steps, done = steps + 1, terminated or truncated
    assert (total, length) == (steps, steps)
    with pytest.raises(Unsupported, match="max_episode_steps"):
        play(reference, env, cartpole.contract, 3, max_steps=2)


def test_no_or_unknown_or_wrong_environment(build, policy_of, cartpole) -> None:
    with pytest.raises(BadInput, match="--env"):
        evaluate(build(policy_of()))
    artifact = build(cartpole)
    with pytest.raises(BadInput, match="CartPole-v1"):
        evaluate(artifact, env="CartPole-v11")
    with pytest.raises(BadInput, match="observation of size 4"):
        evaluate(artifact, env="Pendulum-v1")
    with pytest.raises(BadInput, match="observation of size 5"):
        evaluate(artifact, reference=policy_of())
    assert artifact.result("evaluate") is None


@pytest.mark.parametrize("wrong", [{"episodes": 0}, {"seed": -1}, {"gate": 97.0}, {"gate": float("nan")}])
def test_senseless_settings_are_refused(build, cartpole, wrong: dict) -> None:
    with pytest.raises(BadInput, match=next(iter(wrong))):
        evaluate(build(cartpole), **wrong)


def test_nan_actions_end_the_episode_in_words(pendulum) -> None:
    class Broken(Reference):
        def act(self, obs):
            return super().act(obs) * np.nan

    with pytest.raises(BadInput, match="finite actions"):
        play(Broken(pendulum), make_env("Pendulum-v1"), pendulum.contract, 0)
