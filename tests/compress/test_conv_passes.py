"""Passes on policies with convolutions: what is promised holds there, and what cannot be done is refused by name."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

from pilotfish.compress import PASSES, Context, apply
from pilotfish.compress.distill import Distill
from pilotfish.compress.factorize import Factorize
from pilotfish.compress.fold import Fold
from pilotfish.compress.heal import Heal
from pilotfish.compress.observes import blindfold
from pilotfish.compress.prune import Prune
from pilotfish.compress.quantize_settings import Quantize
from pilotfish.compress.sharing import Tie
from pilotfish.compress.shrink import Shrink
from pilotfish.compress.signals import matrix_inputs
from pilotfish.compress.trim import Trim
from pilotfish.compress.units import hidden_groups, without
from pilotfish.errors import BadInput, Unsupported
from pilotfish.policy import Policy
from pilotfish.policy.cells import GRU
from pilotfish.policy.conv import Conv2d
from pilotfish.policy.layers import Activation, LayerNorm, Linear
from pilotfish.policy.reference import Reference

_spec = importlib.util.spec_from_file_location("eyes", Path(__file__).with_name("eyes.py"))
eyes = importlib.util.module_from_spec(_spec)
sys.modules["eyes"] = eyes
_spec.loader.exec_module(eyes)


def acted(policy: Policy, like: Policy) -> np.ndarray:
    return np.array([Reference(policy, np.float64).act(row) for row in like.golden.obs])


@pytest.mark.parametrize("end", ["linear", "gru"])
def test_channels_are_units(end: str) -> None:
    """A channel that gives nothing, everywhere, can leave: through norms, depthwise layers, into kernels and cells."""
    first = Conv2d("a", 3, 8, 7, 7, (3, 3))
    deep = Conv2d("deep", 8, 8, first.out_height, first.out_width, (2, 1), depthwise=True)
    second = Conv2d("b", 8, 6, deep.out_height, deep.out_width, (2, 2), (2, 2))
    last = Linear("c", second.out_size, 5) if end == "linear" else GRU("c", second.out_size, 5)
    layers = [first, Activation("relu"), deep, Activation("relu"), second, Activation("relu"), last, Linear("d", 5, 2)]
    policy = eyes.image_policy(layers, first.in_size, 2)
    groups = hidden_groups(policy.layers)
    assert [(group.name, group.size) for group in groups] == [("a", 8), ("b", 6), ("c", 5)]
    weights = dict(policy.weights)
    for name in ("a.weight", "a.bias", "deep.weight", "deep.bias"):
        weights[name] = weights[name].copy()
        weights[name][[1, 6]] = 0
    for name in ("b.weight", "b.bias"):
        weights[name] = weights[name].copy()
        weights[name][4] = 0
    silent = policy.replace(weights=weights)
    layers, weights = without(policy.layers, weights, groups[0], np.array([0, 2, 3, 4, 5, 7]))
    layers, weights = without(layers, weights, hidden_groups(layers)[1], np.array([0, 1, 2, 3, 5]))
    smaller = policy.replace(layers=layers, weights=weights, golden=None)
    np.testing.assert_allclose(acted(smaller, policy), acted(silent, policy), atol=1e-6)


@pytest.mark.parametrize("criterion", ["magnitude", "activation", "taylor", "surgeon"])
def test_shrink_takes_channels_out(criterion: str) -> None:
    policy = eyes.eye()
    config = Shrink(keep=0.5, scope="layer", criterion=criterion, schedule="one-shot", reconstruct=True)
    result = apply(policy, PASSES["shrink"], config, Context(policy))
    convolutions = [layer for layer in result.layers if isinstance(layer, Conv2d)]
    assert [layer.out_channels for layer in convolutions] == [6, 5] and convolutions[1].in_channels == 6
    assert np.isfinite(acted(result, policy)).all()


def test_least_squares_after_pruning_helps() -> None:
    policy = eyes.eye(seed=2)
    errors = []
    for reconstruct in (False, True):
        config = Prune(sparsity=0.5, schedule="one-shot", reconstruct=reconstruct)
        result = apply(policy, PASSES["prune"], config, Context(policy))
        assert {"a.weight", "b.weight"} <= set(result.contract.provenance.passes[-1].changed["sparsity_by_matrix"])
        errors.append(np.sqrt(np.mean((acted(result, policy) - acted(policy, policy)) ** 2)))
    assert errors[1] < errors[0]


@pytest.mark.parametrize("bits", [8, 4, 16, "mixed"])
def test_quantize(bits) -> None:
    policy = eyes.eye()
    budget = {"budget_bytes": policy.weight_bytes // 5} if bits == "mixed" else {}
    result = apply(policy, PASSES["quantize"], Quantize(weight_bits=bits, **budget), Context(policy))
    off = np.abs(acted(result, policy) - acted(policy, policy)).max()
    assert off < (0.1 if bits in (8, 16) else 1.0)
    found = [layer.weight_bits for layer in result.layers if isinstance(layer, Conv2d)]
    assert all(width < 32 for width in found) and result.weight_bytes < 0.6 * policy.weight_bytes


def test_a_depthwise_kernel_stays_float32() -> None:
    deep = Conv2d("deep", 4, 4, 6, 6, (3, 3), depthwise=True)
    end = Linear("end", deep.out_size, 2)
    policy = eyes.image_policy([deep, Activation("relu"), end], deep.in_size, 2)
    result = apply(policy, PASSES["quantize"], Quantize(), Context(policy))
    assert [layer.weight_bits for layer in result.layers if hasattr(layer, "weight_bits")] == [32, 8]
    assert set(matrix_inputs(policy, policy.golden)) == {"end.weight"}


def test_heal_keeps_zeros_and_grids() -> None:
    policy = eyes.eye()
    context = Context(policy)
    pruned = apply(policy, PASSES["prune"], Prune(sparsity=0.5, schedule="one-shot"), context)
    whole = apply(pruned, PASSES["quantize"], Quantize(), context)
    heal = Heal(steps=200, iterations=1, epochs=2, without_environment=True, episodes=0)
    healed = apply(whole, PASSES["heal"], heal, context)
    assert healed.layers == whole.layers
    assert not healed.weights["a.weight"][pruned.weights["a.weight"] == 0].any()
    assert (healed.weights["a.weight"] != whole.weights["a.weight"]).any()


def test_passes_of_matrices_leave_kernels_alone() -> None:
    policy = eyes.eye()
    context = Context(policy)
    for config in (Factorize(energy=0.7), Fold(), Trim()):
        result = apply(policy, PASSES[config.kind], config, context)
        for name in ("a.weight", "b.weight"):
            np.testing.assert_array_equal(result.weights[name], policy.weights[name])
    with pytest.raises(BadInput):
        apply(policy, PASSES["tie"], Tie(), context)


def test_a_norm_behind_a_convolution_is_part_of_its_group() -> None:
    conv = Conv2d("a", 2, 4, 5, 5, (2, 2))
    layers = [conv, LayerNorm("n", conv.out_size), Activation("relu"), Linear("end", conv.out_size, 2)]
    policy = eyes.image_policy(layers, conv.in_size, 2)
    result = apply(policy, PASSES["shrink"], Shrink(units={"a": 3}, criterion="activation", schedule="one-shot"), Context(policy))
    assert result.weights["n.weight"].shape == (3 * conv.pixels,)


def test_a_convolution_cannot_be_blindfolded() -> None:
    with pytest.raises(Unsupported, match="convolution"):
        blindfold(eyes.eye().layers, (3,))
    assert Distill().observes == ()
