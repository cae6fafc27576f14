"""Laws of weights on few bits: on their grid, of least error, counted as they are stored, and as exact in ONNX as anywhere."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pilotfish.compress import Context, apply
from pilotfish.compress.heal import HEAL, Heal
from pilotfish.compress.matrices import dense, pruned_masks
from pilotfish.compress.prune import PRUNE, Prune
from pilotfish.compress.quantize import QUANTIZE
from pilotfish.compress.quantize_settings import Quantize
from pilotfish.compress.recipe import parse_recipe
from pilotfish.compress.weight_grids import quantized_rows
from pilotfish.errors import BadInput
from pilotfish.policy.layers import Linear, largest_integer
from pilotfish.policy.reference import Reference
from pilotfish.policy.torch_policy import TorchPolicy


@settings(max_examples=25, deadline=None, derandomize=True)
@given(rows=st.integers(1, 9), columns=st.integers(2, 40), bits=st.sampled_from([2, 3, 4, 8]), seed=st.integers(0, 9999))
def test_rows_of_any_bits_lie_on_their_grid_and_no_tensor_step_errs_less(rows, columns, bits, seed):
    weight = np.random.default_rng(seed).normal(size=(rows, columns)).astype(np.float32)
    errors = {}
    for granularity in ("row", "tensor"):
        q, scale = quantized_rows(weight, bits, granularity)
        assert q.dtype == np.int8 and scale.shape == (rows,) and scale.dtype == np.float32
        assert np.abs(q).max() <= largest_integer(bits)
        errors[granularity] = float(np.square(q * scale[:, None] - weight).sum())
        assert granularity == "row" or len(set(scale.tolist())) == 1
    assert bits == 8 or errors["row"] <= errors["tensor"] * 1.05  # candidates of a row and of the tensor are not the same


@pytest.mark.parametrize(("bits", "suffix"), [(8, "int8"), (4, "w4"), (3, "w3"), (2, "w2")])
@pytest.mark.parametrize("cell", [False, True])
def test_the_pass_puts_every_layer_on_its_bits(make, bits, suffix, cell):
    policy = make(cell=cell)
    small = apply(policy, QUANTIZE, Quantize(weight_bits=bits), Context(policy))
    assert small.name == f"tiny-{suffix}"
    assert {layer.weight_bits for layer in small.layers if hasattr(layer, "weight_bits")} == {bits}
    matrices = [name for name, tensor in small.weights.items() if tensor.dtype == np.int8]
    numbers = sum(small.weights[name].size for name in matrices)
    rows = sum(len(small.weights[name]) for name in matrices)
    biases = sum(t.nbytes for n, t in small.weights.items() if "bias" in n)
    assert small.weight_bytes - biases - 4 * rows == pytest.approx(numbers * bits / 8, abs=len(matrices))
    twin, actor = TorchPolicy(small), Reference(small)
    state, agreed = twin.network.initial_state(1), 0
    for obs in policy.golden.obs[:50]:
        with torch.no_grad():
            action, state = twin(torch.from_numpy(obs)[None], state)
        agreed += bool(np.allclose(actor.act(obs), action[0].numpy(), atol=1e-5))
    assert agreed >= 48  # a value on the edge of two steps may fall on either side


def test_fewer_bits_move_the_action_more_and_every_layer_may_have_its_own(make):
    policy = make((5, 24, 24, 3))
    moved = {}
    for bits in (8, 4, 3, 2):
        small = apply(policy, QUANTIZE, Quantize(weight_bits=bits, activations="float"), Context(policy))
        pairs = [(Reference(small).act(obs), Reference(policy).act(obs)) for obs in policy.golden.obs[::10]]
        moved[bits] = float(np.mean([np.abs(a - b).mean() for a, b in pairs]))
    assert moved[8] < moved[4] < moved[3] < moved[2]
    table = Quantize(weight_bits={"fc0": 4, "fc2": 32}, activations="float")
    mixed = apply(policy, QUANTIZE, table, Context(policy))
    assert mixed.name == "tiny-mixed"
    assert [layer.weight_bits for layer in mixed.layers if isinstance(layer, Linear)] == [4, 8, 32]
    np.testing.assert_array_equal(dense(mixed.weights, "fc2.weight"), policy.weights["fc2.weight"])
    assert mixed.contract.provenance.passes[-1].changed["weight_bits"] == {"fc0": 4, "fc1": 8, "fc2": 32}


def test_a_recipe_names_bits_and_unknown_layers_are_refused(make):
    (config,) = parse_recipe([{"pass": "quantize", "weight_bits": {"fc0": 3}}])
    policy = make()
    assert config == Quantize(weight_bits={"fc0": 3})
    assert apply(policy, QUANTIZE, config, Context(policy)).layers[1].weight_bits == 3
    with pytest.raises(BadInput, match="Did you mean 'fc0'"):
        apply(policy, QUANTIZE, Quantize(weight_bits={"fc00": 3}), Context(policy))


def test_rounding_to_zero_is_no_pruning_and_pruning_stays(make):
    """Healing may move what a coarse grid rounded to 0, and never what a pass took out."""
    policy = make((5, 24, 24, 3))
    coarse = apply(policy, QUANTIZE, Quantize(weight_bits=2), Context(policy))
    assert (coarse.weights["fc1.weight"] == 0).any()
    assert all(mask.all() for mask in pruned_masks(coarse).values())
    sparse = apply(policy, PRUNE, Prune(sparsity=0.5, schedule="one-shot"), Context(policy))
    for bits in (2, 8):
        small = apply(sparse, QUANTIZE, Quantize(weight_bits=bits), Context(policy))
        assert small.contract.provenance.passes[-1].changed["zeros"]["fc1.weight"] == 288
        for name, mask in pruned_masks(small).items():
            assert not mask[sparse.weights[name] == 0].any()
    settings = Heal(steps=200, iterations=1, batch_size=32, learning_rate=0.03, without_environment=True, episodes=0)
    healed = apply(coarse, HEAL, settings, Context(policy))
    before, after = coarse.weights["fc1.weight"], healed.weights["fc1.weight"]
    assert (after[before == 0] != 0).any()


@pytest.mark.parametrize("cell", [False, True])
def test_float16_halves_the_matrices_and_rounds_nothing_else(make, cell):
    policy = make(cell=cell, source="")
    small = apply(policy, QUANTIZE, Quantize(weight_bits=16), Context(policy))  # no recording is needed
    assert small.name == "tiny-fp16" and small.precision == "fp32"
    assert [layer.kind for layer in small.layers] == [layer.kind for layer in policy.layers]
    halved = [tensor.size for name, tensor in policy.weights.items() if tensor.ndim == 2]
    assert policy.weight_bytes - small.weight_bytes == 2 * sum(halved)
    for name, tensor in policy.weights.items():
        np.testing.assert_allclose(small.weights[name], tensor, rtol=2**-11 if tensor.ndim == 2 else 0)
    policy.weights["fc1.weight"][0, 0] = 70_000
    with pytest.raises(BadInput, match="as float16 holds"):
        apply(policy, QUANTIZE, Quantize(weight_bits=16), Context(policy))
