"""Weights of 2, 3 and 4 bits: what a bundle may hold, what it counts, and what training does to them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilotfish.errors import BadInput
from pilotfish.policy import Action, Contract, Observation, Policy
from pilotfish.policy.cells import GRU
from pilotfish.policy.layers import Activation, Linear, largest_integer, matrix_bits, tensor_shapes

torch = pytest.importorskip("torch")
from pilotfish.policy.narrow import best_step, on_grid  # noqa: E402
from pilotfish.policy.network import Network  # noqa: E402

BITS = st.sampled_from([2, 3, 4])


def policy_of(*layers):
    """The layers with random weights on their grids."""
    rng, weights = np.random.default_rng(0), {}
    for layer in layers:
        bits = matrix_bits(layer)
        for name, (shape, dtype) in tensor_shapes(layer).items():
            if dtype == np.int8:
                most = largest_integer(bits[name])
                weights[name] = rng.integers(-most, most + 1, shape).astype(np.int8)
            else:
                weights[name] = rng.uniform(0.1, 1, shape).astype(np.float32)
    inputs = layers[0].in_size
    return Policy("narrow", Contract(Observation(inputs), Action("continuous", layers[-1].out_size)), layers, weights)


def test_a_bundle_counts_packed_bits_and_comes_back_whole(tmp_path):
    policy = policy_of(GRU("g", 5, 4, weight_bits=4), Linear("a", 4, 7, weight_bits=3), Linear("b", 7, 3, weight_bits=2))
    packed = 30 + 24 + 11 + 6  # 60 and 48 weights of 4 bits, 28 of 3, 21 of 2, each matrix in whole bytes
    floats = (12 + 12 + 12 + 12) + (7 + 7) + (3 + 3)
    assert policy.weight_bytes == packed + 4 * floats
    assert policy.tensor_bytes == 12 * 9 + 28 + 21 + 4 * floats
    assert policy.precision == "int8"
    again = Policy.load(policy.save(tmp_path / "narrow.policy"))
    assert again.digest == policy.digest and again.layers == policy.layers


@pytest.mark.parametrize(("bits", "found"), [(2, 2), (3, -4), (4, 8)])
def test_integers_beyond_the_bits_are_refused(bits, found):
    policy = policy_of(Linear("a", 3, 2, weight_bits=bits))
    policy.weights["a.weight"][1, 2] = found
    with pytest.raises(BadInput, match=f"as {bits} bits hold"):
        policy.replace(name="other")


@settings(max_examples=30, deadline=None, derandomize=True)
@given(rows=st.integers(1, 8), columns=st.integers(1, 60), bits=BITS, seed=st.integers(0, 999), power=st.integers(-20, 20))
def test_the_first_step_errs_no_more_than_that_of_the_largest_weight(rows, columns, bits, seed, power):
    weight = torch.from_numpy((np.random.default_rng(seed).normal(size=(rows, columns)) * 2.0**power).astype(np.float32))
    step = best_step(weight, bits)
    widest = weight.abs().amax(dim=1) / largest_integer(bits)
    errors = [(on_grid(weight, s, bits)[1] - weight).square().sum(dim=1) for s in (step, widest)]
    assert (errors[0] <= errors[1] * 1.0001).all()
    assert (on_grid(weight, step, bits)[0].abs() <= largest_integer(bits)).all()


def test_a_row_on_the_grid_keeps_its_values_and_one_of_zeros_stays_zero():
    on = torch.tensor([[0.5, -3.5, 2.0], [0.0, 0.0, 0.0]])
    step = best_step(on, 4)
    torch.testing.assert_close(on_grid(on, step, 4)[1], on)
    assert (step > 0).all()


@pytest.mark.parametrize("bits", [2, 3, 4])
def test_training_moves_weights_and_steps_and_exports_what_it_used(bits):
    """Learned steps lower the error of a fit that rounding alone left; the bundle then computes what training computed."""
    torch.manual_seed(0)
    layers = (Linear("a", 6, 32, weight_bits=bits), Activation("tanh"), Linear("b", 32, 2, weight_bits=bits))
    wide = Network((Linear("a", 6, 32), Activation("tanh"), Linear("b", 32, 2)))
    x = torch.randn(256, 6)
    y = wide(x)[0].detach()
    network = Network(layers)
    with torch.no_grad():
        for name, parameter in wide.named_parameters():
            getattr(network, name).copy_(parameter)
            if name.endswith("weight"):
                network._put_step(name.replace("__", "."), best_step(parameter, bits))
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    losses = []
    for turn in range(200):
        optimizer.param_groups[0]["lr"] = 3e-3 * (1 - turn / 200)
        loss = (network(x)[0] - y).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert min(losses[-10:]) < 0.5 * losses[0]
    assert float(network.a__weight_stretch.detach().abs().max()) > 0.01
    weights = network.to_weights()
    assert weights.keys() == {name for layer in layers if layer.kind == "linear" for name in tensor_shapes(layer)}
    assert np.abs(weights["a.weight"]).max() <= largest_integer(bits)
    with torch.no_grad():
        torch.testing.assert_close(Network(layers, weights)(x)[0], network(x)[0], atol=1e-6, rtol=1e-5)
