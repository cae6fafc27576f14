"""Policies that see images, for the tests of passes: random weights, and a recorded rollout."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pilotfish.policy import Action, Contract, Golden, Observation, Policy
from pilotfish.policy.conv import Conv2d
from pilotfish.policy.layers import Activation, Layer, Linear, tensor_shapes
from pilotfish.policy.reference import Reference

STEPS = 60


def image_policy(layers: Sequence[Layer], size: int, out: int, seed: int = 0) -> Policy:
    """Random weights, and a rollout of random images that is said to come from an environment."""
    rng = np.random.default_rng(seed)
    weights = {
        name: (rng.normal(size=shape) / np.sqrt(shape[-1])).astype(dtype)
        for layer in layers
        for name, (shape, dtype) in tensor_shapes(layer).items()
    }
    policy = Policy("eye", Contract(Observation(size), Action("continuous", out)), tuple(layers), weights)
    obs = (rng.random((STEPS, size)) < 0.3).astype(np.float32)
    actor, states, actions = Reference(policy), [], []
    for row in obs:
        states.append(actor.state)
        actions.append(actor.act(row))
    return policy.replace(golden=Golden(obs, np.stack(actions), np.stack(states), np.arange(STEPS) == 0, "environment"))


def eye(seed: int = 0, **fields) -> Policy:
    """A convolution, one with stride and padding, and two linear layers; ``fields`` of the first."""
    first = Conv2d("a", 3, 12, 8, 8, (3, 3), **fields)
    second = Conv2d("b", 12, 10, first.out_height, first.out_width, (3, 2), (2, 1), (1, 0))
    layers = [first, Activation("relu"), second, Activation("relu"), Linear("c", second.out_size, 20), Activation("tanh")]
    return image_policy([*layers, Linear("d", 20, 4)], first.in_size, 4, seed)
