"""Early stop: a run ends at the evaluation that is good enough, says so, and goes on once more is asked of it."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("gymnasium", reason="gymnasium is not installed")

from pilotfish.errors import BadInput
from pilotfish.train import PPOConfig, train, train_config
from pilotfish.train.evaluation import ClosedLoop, held_out_seeds
from pilotfish.train.ppo import PPO
from pilotfish.train.run import _AFTERWARDS

WHOLE = PPOConfig(
    env="CartPole-v1", steps=6144, n_envs=8, rollout_steps=64, minibatch_size=64, epochs=4, hidden=(8,),
    eval_every=512, eval_episodes=3, seed=1,
)  # fmt: skip
AIM = 60.0
STOPPING = dataclasses.replace(WHOLE, stop_at_return=AIM)


@pytest.fixture(autouse=True)
def _no_golden_rollouts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pilotfish.train.run.record_golden", lambda policy, env, *, seed: None)


def test_it_stops_at_the_first_evaluation_that_is_good_enough_and_tells(tmp_path: Path) -> None:
    policy = train(STOPPING, tmp_path, device="cpu", progress=False)
    (note,) = policy.contract.provenance.notes
    found = re.fullmatch(
        r"training stopped after (\d+) of 6144 steps: an evaluation with a mean return of (\S+) over 3 episodes reached "
        r"stop_at_return = 60; on 3 episodes with other seeds the policy returns (\S+) on average",
        note,
    )
    assert found, note
    steps, reached, afterwards = int(found[1]), float(found[2]), float(found[3])
    assert steps < WHOLE.steps and policy.contract.provenance.steps == steps
    assert reached >= AIM
    judge = ClosedLoop("CartPole-v1", held_out_seeds(1, 3))
    assert judge.returns(policy).mean() == pytest.approx(reached, rel=1e-5)
    other = held_out_seeds(1, 3, _AFTERWARDS)
    assert not set(other) & set(held_out_seeds(1, 3))
    assert judge.returns(policy, other).mean() == pytest.approx(afterwards, rel=1e-5)
    judge.close()


def test_a_stopped_run_stays_stopped_and_goes_on_to_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert STOPPING.digest == WHOLE.digest
    first = train(STOPPING, tmp_path / "stopped", device="cpu", progress=False)
    with monkeypatch.context() as patch:
        patch.setattr(PPO, "iterate", lambda self: pytest.fail("it trained again"))
        again = train(STOPPING, tmp_path / "stopped", device="cpu", progress=False)
    assert again.digest == first.digest
    lifted = train(WHOLE, tmp_path / "stopped", device="cpu", progress=False)
    straight = train(WHOLE, tmp_path / "straight", device="cpu", progress=False)
    assert lifted.digest == straight.digest != first.digest
    assert lifted.contract.provenance.notes == ()
    for name, tensor in straight.weights.items():
        np.testing.assert_array_equal(lifted.weights[name], tensor)


def test_an_aim_out_of_reach_changes_nothing(tmp_path: Path) -> None:
    short = dataclasses.replace(WHOLE, steps=1024)
    aiming = train(dataclasses.replace(short, stop_at_return=1e9), tmp_path / "a", device="cpu", progress=False)
    assert aiming.digest == train(short, tmp_path / "b", device="cpu", progress=False).digest


def test_an_aim_that_is_no_number_is_refused() -> None:
    with pytest.raises(BadInput, match="stop_at_return"):
        train_config({"env": "CartPole-v1", "stop_at_return": float("nan")})
