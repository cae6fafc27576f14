"""Laws of quantization: weights on their grid, ranges from recorded rollouts only, the torch twin agrees."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pilotfish.compress import Context, apply
from pilotfish.compress.activations import layer_inputs
from pilotfish.compress.calibration import activation_grid, whole
from pilotfish.compress.matrices import dense
from pilotfish.compress.quantize import QUANTIZE
from pilotfish.compress.quantize_settings import Quantize
from pilotfish.compress.weight_grids import quantized_rows
from pilotfish.errors import BadInput
from pilotfish.policy.layers import Activation
from pilotfish.policy.reference import Reference
from pilotfish.policy.torch_grids import int8_rows
from pilotfish.policy.torch_policy import TorchPolicy


@settings(max_examples=25, deadline=None)
@given(rows=st.integers(1, 9), columns=st.integers(1, 9), seed=st.integers(0, 9999), power=st.integers(-20, 20))
def test_rows_lie_on_the_grid_that_the_trainer_uses(rows, columns, seed, power):
    weight = (np.random.default_rng(seed).normal(size=(rows, columns)) * 2.0**power).astype(np.float32)
    q, scale = quantized_rows(weight)
    torch_q, torch_scale = int8_rows(torch.from_numpy(weight))
    np.testing.assert_array_equal(q, torch_q.numpy())
    np.testing.assert_array_equal(scale, torch_scale.numpy())
    assert (np.abs(q * scale[:, None] - weight) <= scale[:, None] * 0.5001).all()


def test_a_row_of_zeros_stays_zero():
    q, scale = quantized_rows(np.zeros((2, 3), np.float32))
    assert not q.any()
    assert (scale > 0).all()


@settings(max_examples=40, deadline=None)
@given(low=st.floats(-1e4, 1e4), width=st.floats(0, 1e4))
def test_an_activation_grid_holds_zero_and_spans_its_range(low, width):
    scale, zero = activation_grid(low, low + width)
    ends = (-128 - zero) * scale, (127 - zero) * scale
    assert ends[0] <= min(low, 0) + 0.51 * scale
    assert ends[1] >= max(low + width, 0) - 0.51 * scale


def test_layers_scales_and_records(make):
    policy = make()
    small = apply(policy, QUANTIZE, Quantize(), Context(policy))
    assert [layer.kind for layer in small.layers] == [
        "quantize",
        "linear",
        "activation",
        "quantize",
        "linear",
        "activation",
        "quantize",
        "linear",
    ]
    assert small.precision == "int8"
    assert small.weight_bytes < 0.5 * policy.weight_bytes
    changed = small.contract.provenance.passes[-1].changed
    assert {name: grid["bits"] for name, grid in changed["activations"].items()} == {"fc0": 16, "fc1": 8, "fc2": 8}
    assert max(changed["weight_error"].values()) < 0.01
    for obs in policy.golden.obs[::20]:
        np.testing.assert_allclose(Reference(small).act(obs), Reference(policy).act(obs), atol=0.1)


@pytest.mark.parametrize("cell", [False, True])
@pytest.mark.parametrize("quantize_input", ["int16", "int8", "float", False, True])
def test_the_torch_twin_agrees(make, cell, quantize_input):
    policy = make((5, 8, 8, 2), cell=cell)
    small = apply(policy, QUANTIZE, Quantize(quantize_input=quantize_input), Context(policy))
    twin, actor = TorchPolicy(small), Reference(small)
    state = twin.network.initial_state(1)
    agreed = 0
    for obs in policy.golden.obs[:50]:
        with torch.no_grad():
            action, state = twin(torch.from_numpy(obs)[None], state)
        agreed += bool(np.allclose(actor.act(obs), action[0].numpy(), atol=1e-5))
    assert agreed >= 48  # a value on the edge of two steps may fall on either side


def test_ranges_come_from_the_recorded_rollout(make):
    policy = make()
    inputs = layer_inputs(policy, policy.golden, {2})[2]
    small = apply(policy, QUANTIZE, Quantize(calibration="minmax", quantize_input="float"), Context(policy))
    grid = small.layers[2]
    assert grid.scale == pytest.approx((max(inputs.max(), 0) - min(inputs.min(), 0)) / 255, rel=1e-5)


def test_the_input_grid_reaches_past_what_was_recorded_or_to_the_clip(make):
    policy = make()
    grid = apply(policy, QUANTIZE, Quantize(), Context(policy)).layers[0]
    seen = np.abs(layer_inputs(policy, policy.golden, {0})[0]).max()
    clip = policy.contract.observation.normalizer and policy.contract.observation.normalizer.clip
    assert grid.bits == 16
    assert grid.zero_point == 0
    assert grid.scale * 32767 == pytest.approx(min(8 * seen, clip or np.inf), rel=1e-5)


def test_a_bounded_function_keeps_its_whole_range_where_it_is_nearly_filled():
    tanh, relu = Activation("tanh"), Activation("relu")
    assert whole(tanh, -0.97, 0.99) == (-1, 1)
    assert whole(tanh, -0.3, 0.99) == (-0.3, 0.99)
    assert whole(Activation("sigmoid"), 0.1, 0.95) == (0, 1)
    assert whole(relu, -0.97, 0.99) == (-0.97, 0.99)
    assert whole(None, -0.97, 0.99) == (-0.97, 0.99)


@pytest.mark.parametrize("source", ["random observations", ""])
def test_random_observations_are_refused_and_weight_only_is_not(make, source):
    policy = make(source=source)
    with pytest.raises(BadInput, match=r'recorded in the environment.*--env.*activations = "float"'):
        apply(policy, QUANTIZE, Quantize(), Context(policy))
    small = apply(policy, QUANTIZE, Quantize(activations="float"), Context(policy))
    assert all(layer.kind != "quantize" for layer in small.layers)
    for name in ("fc0.weight", "fc1.weight", "fc2.weight"):
        assert small.weights[name].dtype == np.int8
        np.testing.assert_allclose(
            dense(small.weights, name), policy.weights[name], atol=np.abs(policy.weights[name]).max() / 250
        )


def test_cells_get_int8_weights_only(make):
    policy = make((4, 8, 2), cell=True)
    small = apply(policy, QUANTIZE, Quantize(), Context(policy))
    assert [layer.kind for layer in small.layers] == ["gru", "quantize", "linear", "activation", "quantize", "linear"]
    assert small.weights["gru.weight_hh"].dtype == np.int8


def test_kept_layers_stay_float_and_unknown_names_are_refused(make):
    policy = make()
    small = apply(policy, QUANTIZE, Quantize(keep_float=("fc2",)), Context(policy))
    np.testing.assert_array_equal(small.weights["fc2.weight"], policy.weights["fc2.weight"])
    with pytest.raises(BadInput, match="Did you mean 'fc2'"):
        apply(policy, QUANTIZE, Quantize(keep_float=("fc22",)), Context(policy))


def test_twice_is_refused(make):
    policy = make()
    small = apply(policy, QUANTIZE, Quantize(), Context(policy))
    with pytest.raises(BadInput, match="expected float32 weights, found int8 in fc0"):
        apply(small, QUANTIZE, Quantize(), Context(policy))
