"""The frequency-averaged score: the authors' formula, the curve that it is the area of, and delays in an evaluation."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np
import pytest

from pilotfish.errors import BadInput
from pilotfish.policy.bundle import Policy
from pilotfish.policy.contract import Timing
from pilotfish.policy.environment import make_env
from pilotfish.policy.latency import Latency
from pilotfish.policy.reference import Reference
from pilotfish.runtime.evaluate import evaluate
from pilotfish.runtime.frequency import STEPS, area, frequency_figures, scale_of

gymnasium = pytest.importorskip("gymnasium")


def test_the_score_is_the_authors() -> None:
    assert STEPS == (1, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30)
    generator = np.random.default_rng(0)
    table = generator.uniform(-1500, -150, (6, len(STEPS)))
    figures, points = frequency_figures(table, "Pendulum-v1", 20.0, source="measured", device="")
    # As in their notebook: shift, trapezoidal rule over the steps, highest return times 30; per seed, then the mean.
    trapezoid = getattr(np, "trapezoid", None) or np.trapz  # NumPy 2 renamed it
    assert figures["fas"].value == pytest.approx(np.mean([trapezoid(row + 1550, STEPS) / (1350 * 30) for row in table]))
    assert figures["fas_return"].value == pytest.approx(trapezoid(table.mean(axis=0), STEPS) / 29)
    assert figures["fas"].low < figures["fas"].value < figures["fas"].high and figures["fas"].samples == 6
    assert [point["steps"] for point in points] == list(STEPS) and points[-1]["decision_hz"] == pytest.approx(20 / 30)
    assert points[3]["return"] == pytest.approx(table[:, 3].mean()) and points[3]["returns"] == table[:, 3].tolist()


def test_a_constant_curve_averages_to_itself_and_an_unknown_task_has_no_scale() -> None:
    figures, _ = frequency_figures(np.full((3, len(STEPS)), 7.0), "CartPole-v1", None, source="measured", device="")
    assert figures["fas_return"].value == pytest.approx(7) and area(np.full(len(STEPS), 7.0)) == 7 * 29
    assert figures["fas"].value is None and "CartPole-v1" in figures["fas"].note
    assert scale_of("HalfCheetah-v5") == (0, 17000)


def _by_hand(policy: Policy, env_id: str, seed: int, steps: int, count: int) -> float:
    """Return with a decision every ``steps`` steps, of whose ``count`` actions the last one is held."""
    env, session, total, over, age = make_env(env_id), Reference(policy), 0.0, False, 0
    obs, _ = env.reset(seed=seed)
    session.reset()
    while not over:
        if age % steps == 0:
            plan = session.act(np.asarray(obs, np.float32))
        action = plan.reshape(count, -1)[min(age % steps, count - 1)]
        obs, reward, ended, cut, _ = env.step(int(action[0]) if policy.contract.action.kind == "discrete" else action)
        total, over, age = total + float(reward), ended or cut, age + 1
    return total


@pytest.mark.parametrize(("env", "count"), [("CartPole-v1", 1), ("Pendulum-v1", 4)])
def test_the_curve_repeats_one_action_and_uses_a_sequence_as_far_as_it_goes(env: str, count: int, policy_of, build) -> None:
    shape = {"inputs": 4, "outputs": 2, "discrete": True} if count == 1 else {"inputs": 3, "outputs": 4}
    policy = policy_of("mlp", env=env, **shape)
    policy = policy.replace(contract=dataclasses.replace(policy.contract, timing=Timing(50.0, count)))
    data = evaluate(build(policy), episodes=2, seed=5, fas=True)
    for point in data["frequencies"]:
        if point["steps"] in (1, 2, 4, 12):
            expected = [_by_hand(policy, env, seed, point["steps"], count) for seed in (5, 6)]
            assert point["returns"] == pytest.approx(expected, rel=1e-3)
    assert data["frequencies"][{1: 0, 4: 2}[count]]["returns"] == pytest.approx(data["returns"], rel=1e-9)
    assert data["figures"]["fas_return"]["samples"] == 2


def test_an_evaluation_takes_other_delays_than_the_training(build, policy_of: Callable[..., Policy]) -> None:
    policy = policy_of("mlp", inputs=3, outputs=1, env="Pendulum-v1")
    trained = Timing(20.0, observation_delay=(1, 1), latency=Latency.fixed(60_000))
    late = build(policy.replace(name="late", contract=dataclasses.replace(policy.contract, timing=trained)))
    punctual = build(policy)
    usual, moved = evaluate(late, episodes=2), evaluate(punctual, episodes=2, observation_delay=1, latency=60_000)
    assert usual["scene"] == moved["scene"] == "Pendulum-v1, observations 1 steps late, actions 60,000 us late on average"
    assert usual["returns"] == moved["returns"] and moved["reference_returns"] == pytest.approx(moved["returns"], rel=1e-3)
    plain = evaluate(late, episodes=2, observation_delay=0, latency=0)
    assert "scene" not in plain and plain["returns"] == evaluate(punctual, episodes=2)["returns"] != usual["returns"]
    for wrong in ({"observation_delay": -1}, {"observation_delay": (2, 1)}, {"latency": -5.0}, {"latency": "nowhere"}):
        with pytest.raises(BadInput):
            evaluate(punctual, episodes=1, **wrong)
