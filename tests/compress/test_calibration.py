"""Laws of calibration: each way does best by its own measure, channels change no function, wide grids lose nearly nothing."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from pilotfish.compress import Context, apply
from pilotfish.compress.activations import layer_inputs
from pilotfish.compress.calibration import activation_grid, activation_range, per_channel
from pilotfish.compress.quantize import QUANTIZE
from pilotfish.compress.quantize_settings import Quantize
from pilotfish.compress.replay import Replay
from pilotfish.errors import BadInput
from pilotfish.policy.grid import Quantize as Grid
from pilotfish.policy.layers import Affine, Linear
from pilotfish.policy.reference import Reference


def rounding_error(values, low, high):
    """Mean square of what an int8 grid over [low, high] does to values."""
    scale, zero = activation_grid(low, high)
    q = np.clip(np.round(values / scale) + zero, -128, 127) - zero
    return float(np.square(q * scale - values).mean())


@pytest.mark.parametrize("tail", ["normal", "cauchy", "uniform", "outlier"])
def test_mse_errs_no_more_than_the_whole_range_and_cuts_off_a_lone_outlier(tail):
    rng = np.random.default_rng(0)
    draw = {"normal": rng.normal, "cauchy": rng.standard_cauchy}.get(tail, lambda size: rng.uniform(-1, 1, size))
    values = draw(size=(12_500, 8)).astype(np.float32)
    if tail == "outlier":
        values[0, 0] = 1.6
    whole, least = activation_range(values, "minmax"), activation_range(values, "mse")
    assert rounding_error(values, *least) <= rounding_error(values, *whole)
    if tail == "outlier":
        assert rounding_error(values, *least) < 0.95 * rounding_error(values, *whole)


def test_action_calibration_never_moves_the_action_more_than_what_it_began_with(make):
    policy = make((5, 16, 16, 3), activation="relu")
    replay = Replay(policy, policy.golden)
    errors = {}
    for calibration in ("minmax", "percentile", "mse", "action"):
        small = apply(policy, QUANTIZE, Quantize(calibration=calibration, weight_bits=4, percentile=99.0), Context(policy))
        errors[calibration] = replay.error(small.layers, small.weights)
        if calibration == "action":
            before, after = small.contract.provenance.passes[-1].changed["action_error"]
            assert after == pytest.approx(errors["action"], abs=1e-5)
            assert before == pytest.approx(errors["minmax"], abs=1e-5)
    assert errors["action"] <= min(errors.values()) * 1.02
    assert errors["action"] < errors["minmax"]


def test_channels_change_no_function_and_round_each_input_by_its_own_range(make):
    policy = make((5, 16, 3))
    golden = dataclasses.replace(policy.golden, obs=policy.golden.obs * np.array([1, 1, 1, 1, 0.02], np.float32))
    policy = policy.replace(golden=golden)
    values = layer_inputs(policy, golden, {0})[0]
    folded = per_channel(policy, 0, values, "minmax", 100.0)
    for obs in golden.obs[::10]:
        np.testing.assert_allclose(Reference(folded).act(obs), Reference(policy).act(obs), atol=2e-5)
    reached = np.abs(layer_inputs(folded, golden, {1})[1]).max(axis=0)
    np.testing.assert_allclose(reached, 1 / 1.2, atol=1e-3)
    replay = Replay(policy, golden)
    errors = {}
    for grid in ("int8", "int8-channel", "int16"):
        small = apply(policy, QUANTIZE, Quantize(quantize_input=grid), Context(policy))
        errors[grid] = replay.error(small.layers, small.weights)
    assert errors["int8-channel"] < errors["int8"]
    kinds = [layer.kind for layer in apply(policy, QUANTIZE, Quantize(quantize_input="int8-channel"), Context(policy)).layers]
    assert kinds[:3] == ["affine", "quantize", "linear"]


def test_channels_of_a_layer_without_bias_and_kept_layers(make):
    policy = make((5, 16, 3))
    layers = (dataclasses.replace(policy.layers[0], bias=False), *policy.layers[1:])
    bare = policy.replace(layers=layers, weights={n: t for n, t in policy.weights.items() if n != "fc0.bias"})
    small = apply(bare, QUANTIZE, Quantize(quantize_input="int8-channel"), Context(bare))
    assert isinstance(small.layers[0], Affine) and small.layers[2].bias
    kept = apply(policy, QUANTIZE, Quantize(quantize_input="int8-channel", keep_float=("fc0",)), Context(policy))
    assert kept.layers[0] == policy.layers[0]


@pytest.mark.parametrize("activation", ["tanh", "relu", "sigmoid"])
def test_activations_of_16_bits_move_the_action_far_less_than_those_of_8(make, activation):
    policy = make((5, 16, 16, 3), activation=activation)
    replay, errors = Replay(policy, policy.golden), {}
    for activations in ("int8", "int16"):
        small = apply(policy, QUANTIZE, Quantize(activations=activations), Context(policy))
        assert {layer.bits for layer in small.layers[1:] if isinstance(layer, Grid)} == {int(activations[3:])}
        layers = [dataclasses.replace(e, weight_bits=32) if isinstance(e, Linear) else e for e in small.layers]
        errors[activations] = replay.error(tuple(layers), policy.weights)
    assert errors["int16"] < 0.1 * errors["int8"]


@pytest.mark.parametrize("config", [{"weight_bits": "mixed"}, {"budget_bytes": 100}, {"tolerance": 0.1}])
def test_a_limit_and_mixed_bits_go_together(config):
    with pytest.raises((BadInput, ValueError), match="mixed"):
        Quantize(**config)
