"""Small policies for the passes: built here, with seeded weights."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from pilotfish.policy import Action, Contract, Golden, Normalizer, Observation, Policy, Provenance
from pilotfish.policy.cells import GRU
from pilotfish.policy.layers import Activation, Linear, tensor_shapes
from pilotfish.policy.reference import Reference

Maker = Callable[..., Policy]
POLE = "CartPole-v1"


def build(
    sizes: tuple[int, ...] = (5, 12, 9, 3),
    seed: int = 0,
    *,
    activation: str = "tanh",
    cell: bool = False,
    source: str = "environment",
) -> Policy:
    """A policy of random weights with a golden rollout of 200 steps, said to come from ``source`` ("" for none)."""
    rng = np.random.default_rng(seed)
    layers: list = []
    width = sizes[0]
    if cell:
        layers.append(GRU("gru", width, sizes[1]))
        width = sizes[1]
    for number, size in enumerate(sizes[1:]):
        layers.append(Linear(f"fc{number}", width, size))
        if number < len(sizes) - 2:
            layers.append(Activation(activation))
        width = size
    weights = {
        name: rng.normal(scale=0.6, size=shape).astype(dtype)
        for layer in layers
        for name, (shape, dtype) in tensor_shapes(layer).items()
    }
    normalizer = Normalizer(tuple(rng.normal(size=sizes[0])), tuple(rng.uniform(0.5, 2, sizes[0])), clip=10.0)
    contract = Contract(Observation(sizes[0], normalizer=normalizer), Action("continuous", sizes[-1]))
    policy = Policy("tiny", contract, tuple(layers), weights)
    return policy.replace(golden=rollout(policy, source)) if source else policy


def rollout(policy: Policy, source: str) -> Golden:
    """What the policy does on a smooth random walk of observations."""
    rng = np.random.default_rng(1)
    obs = np.cumsum(rng.normal(scale=0.2, size=(200, policy.contract.observation.size)), axis=0).astype(np.float32)
    start = np.arange(200) % 100 == 0
    actor, states, actions = Reference(policy), [], []
    for row, first in zip(obs, start, strict=True):
        if first:
            actor.reset()
        states.append(actor.state)
        actions.append(actor.act(row))
    return Golden(obs, np.stack(actions), np.stack(states), start, source)  # type: ignore[arg-type]


@pytest.fixture
def make() -> Maker:
    return build


@pytest.fixture(scope="session")
def pilot() -> Policy:
    """A hand-made network that balances the pole: every hidden unit sees the same balancing sum, and some noise."""
    pytest.importorskip("gymnasium")
    from pilotfish.compress.heal import mean_returns
    from pilotfish.policy.record import record_golden

    rng = np.random.default_rng(3)
    layers = (Linear("one", 4, 24), Activation("tanh"), Linear("two", 24, 24), Activation("tanh"), Linear("three", 24, 2))
    sign = rng.choice([-1, 1], 24)
    balance = np.array([0.1, 0.3, 2.0, 1.0])
    second = rng.choice([-1, 1], 24)
    weights = {
        "one.weight": np.outer(sign, np.ones(4)) * rng.uniform(0.2, 1.8, size=(24, 4)),
        "one.bias": rng.normal(scale=0.01, size=24),
        "two.weight": np.outer(second, sign) / 8 + rng.normal(scale=0.05, size=(24, 24)),
        "two.bias": rng.normal(scale=0.01, size=24),
        "three.weight": np.stack([-second, second]) / 6 + rng.normal(scale=0.02, size=(2, 24)),
        "three.bias": np.zeros(2),
    }
    normalizer = Normalizer((0.0,) * 4, tuple(balance**-2.0))  # every observation counts the same after it
    contract = Contract(Observation(4, normalizer=normalizer), Action("discrete", 2), provenance=Provenance(env=POLE))
    policy = Policy("pilot", contract, layers, {name: tensor.astype(np.float32) for name, tensor in weights.items()})
    policy = policy.replace(golden=record_golden(policy, POLE, steps=500))
    assert mean_returns([policy], POLE, 5) == [500.0]
    return policy
