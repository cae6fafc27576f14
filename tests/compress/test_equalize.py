"""Laws of equalization: no function changes, only what may be divided is, and rounding moves the actions less or as much."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from pilotfish.compress import Context, apply
from pilotfish.compress.activations import layer_inputs
from pilotfish.compress.equalize import equalized, places
from pilotfish.compress.quantize import QUANTIZE
from pilotfish.compress.quantize_settings import Quantize
from pilotfish.compress.replay import Replay
from pilotfish.policy.layers import Activation, Affine, Linear
from pilotfish.policy.reference import Reference

UNEVEN = np.array([40, 1, 0.02, 5, 1], np.float32)


@pytest.fixture
def uneven(make):
    """A ReLU policy without a normalizer whose inputs, and what they are multiplied by, differ by orders of magnitude."""
    policy = make((5, 24, 24, 3), activation="relu")
    observation = dataclasses.replace(policy.contract.observation, normalizer=None)
    golden = dataclasses.replace(policy.golden, obs=policy.golden.obs * UNEVEN)
    weights = policy.weights | {"fc0.weight": policy.weights["fc0.weight"] / UNEVEN}
    contract = dataclasses.replace(policy.contract, observation=observation)
    return policy.replace(contract=contract, weights=weights, golden=golden)


@pytest.mark.parametrize("power", [0.25, 0.5, 1.0])
@pytest.mark.parametrize("activation", ["relu", "leaky_relu"])
def test_no_function_changes_and_power_one_gives_every_input_one_range(uneven, power, activation):
    layers = tuple(Activation(activation, 0.1) if isinstance(e, Activation) else e for e in uneven.layers)
    policy = uneven.replace(layers=layers)
    spots = places(policy)
    assert spots == [0, 2, 4]
    reach = {i: np.abs(v).max(axis=0).astype(np.float64) for i, v in layer_inputs(policy, policy.golden, set(spots)).items()}
    even = equalized(policy, dict.fromkeys(spots, power), reach)
    assert isinstance(even.layers[0], Affine)
    assert [e.kind for e in even.layers[1:]] == [e.kind for e in policy.layers]
    for obs in policy.golden.obs[::10]:
        wanted = Reference(policy, np.float64).act(obs)
        np.testing.assert_allclose(Reference(even, np.float64).act(obs), wanted, rtol=1e-5, atol=1e-5)
    if power == 1:
        sizes = np.abs(layer_inputs(even, policy.golden, {1})[1]).max(axis=0)
        np.testing.assert_allclose(sizes, sizes[0], rtol=1e-4)


def test_only_relu_and_the_observation_are_divided(make):
    assert places(make((5, 8, 8, 2))) == [0]
    assert places(make((5, 8, 8, 2), activation="relu")) == [0, 2, 4]
    assert places(make((5, 8, 2), activation="relu", cell=True)) == [3]
    bare = make((5, 8, 2))
    behind_affine = bare.replace(
        layers=(Affine("a", 5), *bare.layers),
        weights=bare.weights | {"a.scale": np.ones(5, np.float32), "a.offset": np.zeros(5, np.float32)},
    )
    assert places(behind_affine) == [1]


@pytest.mark.parametrize("bits", [8, 4])
def test_the_pass_moves_the_actions_less(uneven, bits):
    replay, errors = Replay(uneven, uneven.golden), {}
    for equalize in (False, True):
        small = apply(uneven, QUANTIZE, Quantize(weight_bits=bits, equalize=equalize), Context(uneven))
        errors[equalize] = replay.error(small.layers, small.weights)
    powers = small.contract.provenance.passes[-1].changed["equalized"]
    assert set(powers) == {"fc0", "fc1", "fc2"} and powers["fc0"] > 0
    assert errors[True] < 0.7 * errors[False]
    if bits == 8:
        mixed = Quantize(weight_bits="mixed", tolerance=0.2, equalize=True)
        assert apply(uneven, QUANTIZE, mixed, Context(uneven)).weight_bytes < small.weight_bytes


def test_a_kept_layer_and_pruned_weights_stay_as_they_are_in_what_they_do(uneven):
    mask = np.random.default_rng(0).random((24, 24)) < 0.5
    sparse = uneven.replace(weights=uneven.weights | {"fc1.weight": uneven.weights["fc1.weight"] * mask})
    small = apply(sparse, QUANTIZE, Quantize(equalize=True, keep_float=("fc2",)), Context(sparse))
    assert not small.weights["fc1.weight"][~mask].any()
    assert [e.weight_bits for e in small.layers if isinstance(e, Linear)] == [8, 8, 32]
    assert Replay(sparse, sparse.golden).error(small.layers, small.weights) < 0.05
