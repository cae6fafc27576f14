"""The golden rollout is the reference's own, closed loop, with its states and episode starts."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from pilotfish.errors import BadInput
from pilotfish.policy import Action, Contract, Normalizer, Observation, Policy
from pilotfish.policy.cells import GRU
from pilotfish.policy.environment import check_env, make_env
from pilotfish.policy.layers import Linear
from pilotfish.policy.reference import Reference

pytest.importorskip("torch")
pytest.importorskip("gymnasium")
from pilotfish.policy.record import record_golden


def recurrent(kind: str = "discrete", scale: float = 1.0) -> Policy:
    rng = np.random.default_rng(0)
    layers = (GRU("m", 4, 3), Linear("out", 3, 2))
    shapes = {"m.weight_ih": (9, 4), "m.weight_hh": (9, 3), "m.bias_ih": (9,), "m.bias_hh": (9,), "out.weight": (2, 3)}
    weights = {n: (scale * rng.standard_normal(s)).astype(np.float32) for n, s in (shapes | {"out.bias": (2,)}).items()}
    return Policy("r", Contract(Observation(4), Action(kind, 2)), layers, weights)  # type: ignore[arg-type]


@pytest.mark.parametrize("env", [None, "CartPole-v1"])
def test_a_reference_repeats_the_rollout(env: str | None) -> None:
    policy = recurrent()
    golden, reference = record_golden(policy, env, steps=120, seed=3), Reference(policy)
    assert len(golden) == 120 and golden.state.shape == (120, 3) and golden.action.dtype == np.int64
    assert golden.start[0] and (golden.start.sum() == 1) == (env is None)
    assert golden.source == ("environment" if env else "random observations")
    for obs, action, state, start in zip(golden.obs, golden.action, golden.state, golden.start, strict=True):
        if start:
            reference.reset()
            assert not state.any()
        np.testing.assert_allclose(reference.state, state, atol=1e-5)
        assert reference.act(obs).tolist() == action.tolist()


def test_the_same_seed_gives_the_same_bytes() -> None:
    policy = recurrent()
    assert record_golden(policy, "CartPole-v1", 50, 1).to_bytes() == record_golden(policy, "CartPole-v1", 50, 1).to_bytes()
    assert record_golden(policy, None, 50, 1).to_bytes() != record_golden(policy, None, 50, 2).to_bytes()


def test_episodes_start_from_consecutive_seeds() -> None:
    golden = record_golden(recurrent(), "CartPole-v1", 100, seed=7)
    env = make_env("CartPole-v1")
    for index, place in enumerate(np.flatnonzero(golden.start)):
        np.testing.assert_array_equal(env.reset(seed=7 + index)[0], golden.obs[place])
    env.close()


def test_random_observations_follow_the_normalizer() -> None:
    policy = recurrent()
    normalizer = Normalizer((100.0, 0.0, -5.0, 1.0), (4.0, 1.0, 0.25, 1.0))
    observation = dataclasses.replace(policy.contract.observation, normalizer=normalizer)
    policy = policy.replace(contract=dataclasses.replace(policy.contract, observation=observation))
    golden = record_golden(policy, None, steps=2000)
    np.testing.assert_allclose(golden.obs.mean(0), normalizer.mean, atol=0.15)
    np.testing.assert_allclose(golden.obs.var(0), normalizer.variance, rtol=0.1)


def test_a_policy_that_overflows_is_refused() -> None:
    policy = recurrent("continuous")
    policy = policy.replace(weights=policy.weights | {"out.weight": np.full((2, 3), 3e38, np.float32)})
    with pytest.raises(BadInput, match="finite actions"):
        record_golden(policy, None, steps=50)


@pytest.mark.parametrize("steps", [0, -1, 10**9])
def test_a_wrong_number_of_steps_is_refused(steps: int) -> None:
    with pytest.raises(BadInput, match="steps"):
        record_golden(recurrent(), None, steps=steps)


@pytest.mark.parametrize(
    ("env", "said"),
    [("CartPole-v9", "CartPole"), ("Nothing-v0", "registered"), ("os:system", "trusts"), ("", "registered")],
)
def test_an_unknown_environment_is_refused(env: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        record_golden(recurrent(), env, steps=5)


def test_an_environment_of_another_kind_is_refused() -> None:
    env = make_env("CartPole-v1")
    with pytest.raises(BadInput, match="continuous action"):
        check_env(recurrent("continuous").contract, env)
    env.close()
