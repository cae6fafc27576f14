"""Law: the generated C computes what the reference computes, whatever the network is made of."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("onnx")

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pilotfish.policy.cells import GRU, LSTM, CfC
from pilotfish.policy.grid import Quantize
from pilotfish.policy.layers import Activation, Affine, Clip, History, LayerNorm, Linear
from pilotfish.policy.reference import Reference

ACTIVATIONS = (
    "tanh",
    "relu",
    "elu",
    "silu",
    "sigmoid",
    "softsign",
    "leaky_relu",
    "gelu",
    "selu",
    "softplus",
    "mish",
    "hardswish",
)
TOLERANCE = 1e-5
"""Per action, relative to max(1, |action|)."""
SIZES = st.integers(1, 70) | st.sampled_from([16, 32, 64, 128])


@st.composite
def networks(draw, most_layers=5):
    """(layers, inputs, outputs) of anything but Quantize, whose jumps have tests of their own."""
    width = in_size = draw(SIZES)
    layers = []
    for index in range(draw(st.integers(1, most_layers))):
        kind = draw(st.sampled_from(["linear", "activation", "norm", "affine", "clip", "gru", "lstm", "cfc", "history"]))
        if kind in ("linear", "gru", "lstm"):
            out, bits = draw(SIZES), draw(st.sampled_from([8, 32]))
            if kind == "linear":
                layers.append(Linear(f"l{index}", width, out, bias=draw(st.booleans()), weight_bits=bits))
            else:
                ranks = {f"rank_{part}": draw(st.sampled_from([None, None, 3])) for part in ("ih", "hh")}
                layers.append((GRU if kind == "gru" else LSTM)(f"l{index}", width, out, weight_bits=bits, **ranks))
            width = out
        elif kind == "activation":
            layers.append(Activation(draw(st.sampled_from(ACTIVATIONS)), alpha=draw(st.sampled_from([0.01, 0.5, 1.0]))))
        elif kind == "cfc":
            out = draw(st.integers(1, 40))
            layers.append(
                CfC(f"l{index}", width, out, draw(st.sampled_from([(), (17,), (8, 20)])), draw(st.sampled_from([0.02, 1.0])))
            )
            width = out
        elif kind == "history" and width <= 64:
            layers.append(History(f"l{index}", width, draw(st.integers(2, 6))))
            width *= layers[-1].length
        elif kind == "norm" and width > 3:
            layers.append(LayerNorm(f"l{index}", width))
        elif kind == "affine":
            layers.append(Affine(f"l{index}", width))
        else:
            layers.append(Clip(-1.5, 2.0))
    return layers, in_size, width


@st.composite
def transforms(draw, size):
    """Fields of a continuous action."""
    fields = {"squash": draw(st.sampled_from(["none", "tanh"]))}
    if draw(st.booleans()):
        fields |= {"scale": (0.5,) * size, "offset": tuple(0.1 * i for i in range(size))}
    if draw(st.booleans()):
        fields |= {"low": tuple(-1.0 - i for i in range(size)), "high": (1.5,) * size}
    return fields


def deviations(loaded, policy, steps=12, seed=5):
    """Largest deviation from the float32 and from the float64 reference, self-fed, relative to max(1, |action|)."""
    rng = np.random.default_rng(seed)
    observations = (2 * rng.normal(size=(steps, policy.contract.observation.size))).astype(np.float32)
    worst = []
    for dtype in (np.float32, np.float64):
        reference = Reference(policy, dtype)
        loaded.reset()
        errors = []
        for obs in observations:
            truth, got = reference.act(obs), loaded.act(obs)
            errors.append(np.abs(got - truth).max() / max(1.0, np.abs(truth).max()))
            size = loaded.sizes[1]
            errors.append(np.abs(loaded.state[:size] - reference.state).max() if size else 0.0)
        worst.append(max(errors))
    return worst


@settings(max_examples=16, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), print_blob=False)
@given(data=st.data())
def test_random_networks(data, build_host, make_policy):
    layers, in_size, out_size = data.draw(networks())
    action = data.draw(transforms(out_size))
    policy = make_policy(layers, in_size, out_size, data.draw(st.integers(0, 99)), normalizer=data.draw(st.booleans()), **action)
    loaded = build_host(policy)
    assert loaded.sizes == (in_size, sum(s.size for s in policy.contract.state), out_size, 0)
    assert max(deviations(loaded, policy)) <= TOLERANCE


@pytest.mark.parametrize("function", ACTIVATIONS)
def test_every_activation_over_a_wide_range(function, build_host, make_policy):
    size = 64
    policy = make_policy([Activation(function, alpha=0.7)], size, size, 0, normalizer=False)
    loaded = build_host(policy)
    reference = Reference(policy, np.float64)
    for magnitude in (1e-3, 0.1, 1.0, 10.0, 100.0, 1e6):
        obs = np.linspace(-magnitude, magnitude, size, dtype=np.float32)
        truth = reference.act(obs)
        assert np.all(np.abs(loaded.act(obs) - truth) <= 5e-7 * np.maximum(1, np.abs(truth)))


def test_discrete_action_is_the_first_largest_output(build_host, make_policy):
    policy = make_policy([Linear("a", 9, 20), Activation("relu"), Linear("b", 20, 7)], 9, 7, 3, kind="discrete")
    loaded, reference = build_host(policy), Reference(policy, np.float64)
    assert loaded.sizes == (9, 0, 1, 1)
    observations = np.random.default_rng(0).normal(size=(300, 9)).astype(np.float32)
    chosen = [int(loaded.act(obs)[0]) for obs in observations]
    assert chosen == [int(reference.act(obs)[0]) for obs in observations]
    assert len(set(chosen)) > 2
    ties = make_policy([Activation("relu")], 5, 5, 0, kind="discrete", normalizer=False)
    assert build_host(ties).act(np.array([-1, 2, 0, 2, 2], np.float32))[0] == 1


@pytest.mark.parametrize(("scale", "zero"), [(0.1, 0), (0.25, -7), (0.0371, 120), (3.0, -128)])
def test_the_int8_grid_is_exact(scale, zero, build_host, make_policy):
    """Half rounds to even, and the ends saturate: bit for bit the reference, ties included."""
    size = 64
    policy = make_policy([Quantize(scale, zero)], size, size, 0, normalizer=False)
    loaded, reference = build_host(policy), Reference(policy, np.float32)
    ties = (np.arange(-320, 320, dtype=np.float32) + np.float32(0.5)) * np.float32(scale)
    smooth = np.linspace(-200 * scale, 200 * scale, 640).astype(np.float32)
    for row in np.concatenate([ties, smooth]).reshape(-1, size):
        np.testing.assert_array_equal(loaded.act(row), reference.act(row))


def test_int8_policy_with_quantized_activations(build_host, make_policy):
    """float32 noise may tip a value over the edge of a step, rarely; then the action moves by a step's effect, no more."""
    layers = [Quantize(0.04, 0), Linear("a", 12, 32, weight_bits=8), Activation("tanh"), Quantize(1 / 127, 0)]
    policy = make_policy([*layers, Linear("b", 32, 4, weight_bits=8)], 12, 4, 8)
    loaded, reference = build_host(policy), Reference(policy, np.float32)
    observations = np.random.default_rng(0).normal(size=(400, 12)).astype(np.float32)
    errors = np.array([np.abs(loaded.act(obs) - reference.act(obs)).max() for obs in observations])
    assert (errors <= TOLERANCE).mean() > 0.97
    assert errors.max() < 0.05


def test_recurrent_state_drifts_no_further_over_a_long_episode(build_host, make_policy):
    policy = make_policy([Linear("a", 8, 24), Activation("elu"), GRU("g", 24, 32), Linear("b", 32, 3)], 8, 3, 2)
    assert max(deviations(build_host(policy), policy, steps=1000)) <= TOLERANCE


def test_a_policy_without_any_computation(build_host, make_policy):
    loaded = build_host(make_policy([], 5, 5, 0, normalizer=False))
    obs = np.arange(5, dtype=np.float32)
    np.testing.assert_array_equal(loaded.act(obs), obs)


def test_nan_in_nan_out(build_host, make_policy):
    """A broken sensor must not look like a healthy action."""
    policy = make_policy([Linear("a", 4, 16), Activation("tanh"), Linear("b", 16, 16), Activation("silu")], 4, 16, 0)
    assert np.isnan(build_host(policy).act(np.array([0, np.nan, 0, 0], np.float32))).all()
