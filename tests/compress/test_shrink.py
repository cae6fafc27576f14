"""Laws of shrinking: keeping all is the identity, unheard units go first and change nothing, layers are truly narrower."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pilotfish.compress import Context, apply, compress, parse_recipe
from pilotfish.compress.importance import importance
from pilotfish.compress.reconstruct import refit
from pilotfish.compress.shrink import SHRINK, Shrink, remove
from pilotfish.compress.signals import matrix_inputs
from pilotfish.compress.unit_choice import widths_of
from pilotfish.compress.units import hidden_groups, parameters
from pilotfish.errors import BadInput
from pilotfish.policy import Golden
from pilotfish.policy.cells import GRU, LSTM, CfC
from pilotfish.policy.layers import Activation, Affine, History, LayerNorm, Linear, tensor_shapes
from pilotfish.policy.reference import Reference

CRITERIA = ("surgeon", "magnitude", "activation", "taylor")
NETWORKS = {
    "linear": (Linear("a", 5, 8), Activation("tanh"), Linear("b", 8, 7), Activation("relu"), Linear("c", 7, 3)),
    "gru": (GRU("a", 5, 8), Linear("b", 8, 6), Activation("tanh"), Linear("c", 6, 3)),
    "lstm": (Linear("z", 5, 4), Activation("tanh"), LSTM("a", 4, 8), Linear("b", 8, 3)),
    "cfc": (Linear("z", 5, 4), CfC("a", 4, 8), Linear("b", 8, 3)),
    "cfc backbone": (CfC("a", 5, 8, backbone=(7,)), CfC("d", 8, 5), Linear("b", 5, 3)),
    "history": (Linear("a", 5, 8), Activation("tanh"), History("h", 8, 3), Affine("f", 24), Linear("b", 24, 3, bias=False)),
    "norm": (Linear("a", 5, 8), LayerNorm("n", 8), Activation("tanh"), Linear("b", 8, 3)),
}


@pytest.fixture
def network(make):
    """name in NETWORKS, seed -> a policy of random weights and a rollout."""

    def build(name, seed=0):
        rng = np.random.default_rng(seed)
        layers = NETWORKS[name]
        weights = {
            tensor: rng.normal(scale=0.4, size=shape).astype(np.float32)
            for layer in layers
            for tensor, (shape, _) in tensor_shapes(layer).items()
        }
        policy = make((5, 4, 3), seed)
        normalizer = policy.contract.observation.normalizer
        obs = normalizer.mean + rng.normal(size=(60, 5)) * np.sqrt(normalizer.variance)
        nothing = np.zeros((60, 0), np.float32)
        golden = Golden(obs.astype(np.float32), nothing, nothing, np.arange(60) % 30 == 0, "environment")
        return policy.replace(layers=layers, weights=weights, golden=golden)

    return build


def actions(policy, golden, dtype=np.float64):
    actor = Reference(policy, dtype)
    rows = []
    for obs, start in zip(golden.obs, golden.start, strict=True):
        if start:
            actor.reset()
        rows.append(actor.act(obs))
    return np.stack(rows)


def shrunk(policy, **settings):
    return apply(policy, SHRINK, Shrink(schedule="one-shot", **settings), Context(policy))


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("name", NETWORKS)
def test_keeping_all_is_the_identity(network, name, criterion):
    policy = network(name)
    same = shrunk(policy, keep=1.0, criterion=criterion)
    assert same.layers == policy.layers
    for tensor, value in policy.weights.items():
        np.testing.assert_array_equal(same.weights[tensor], value)


@pytest.mark.parametrize("criterion", CRITERIA)
@pytest.mark.parametrize("name", [name for name in NETWORKS if name != "norm"])
def test_a_unit_that_nobody_hears_goes_first_and_changes_nothing(network, name, criterion):
    policy = network(name)
    deaf, weights = 5, {tensor: value.copy() for tensor, value in policy.weights.items()}
    group = next(group for group in hidden_groups(policy.layers) if group.name == "a")
    for reader in group.readers:
        for block in range(reader.blocks):
            weights[reader.weight][:, reader.begin + block * group.size + deaf] = 0
    policy = policy.replace(weights=weights)
    assert int(np.argmin(importance(policy, criterion, policy.golden)["a"])) == deaf
    fewer = shrunk(policy, units={"a": 7}, criterion=criterion, reconstruct=False)
    assert widths_of(fewer.layers)["a"] == 7
    np.testing.assert_allclose(actions(fewer, policy.golden), actions(policy, policy.golden), atol=1e-5)
    if name in ("gru", "lstm", "cfc"):
        assert [tensor.size for tensor in fewer.contract.state] == [7] * len(policy.contract.state)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from(sorted(NETWORKS)),
    criterion=st.sampled_from(CRITERIA),
    scope=st.sampled_from(["global", "layer"]),
    keep=st.floats(0.05, 0.95),
    seed=st.integers(0, 99),
)
def test_the_share_that_stays_is_the_one_asked_for(network, name, criterion, scope, keep, seed):
    policy = network(name, seed)
    small = shrunk(policy, keep=keep, criterion=criterion, scope=scope)
    had, has = widths_of(policy.layers), widths_of(small.layers)
    if scope == "layer":
        assert has == {layer: max(1, round(keep * size)) for layer, size in had.items()}
    else:
        assert sum(has.values()) == max(len(had), round(keep * sum(had.values())))
        assert min(has.values()) >= 1
    assert small.parameters == parameters(small.layers)
    assert np.isfinite(actions(small, policy.golden)).all()


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_a_number_of_parameters_is_an_upper_bound_that_is_nearly_used(make, scope):
    policy = make((6, 40, 30, 3))
    small = shrunk(policy, weights=500, scope=scope)
    assert 440 < small.parameters <= 500


@pytest.mark.parametrize("name", ["linear", "gru", "lstm", "cfc", "history"])
def test_twins_cost_nothing_once_the_others_stand_in(network, name):
    """Unit 3 becomes a copy of unit 2: without either the other can do its work, if the readers are fitted anew."""
    policy = network(name)
    group = next(group for group in hidden_groups(policy.layers) if group.name == "a")
    weights = {tensor: value.copy() for tensor, value in policy.weights.items()}
    for tensor, blocks in group.rows:
        for block in range(blocks):
            weights[tensor][block * group.size + 3] = weights[tensor][block * group.size + 2]
    policy = policy.replace(weights=weights)
    others = {"a": np.delete(np.arange(8), 3)}
    exact = actions(policy, policy.golden)
    fitted, folded = (actions(remove(policy, others, policy.golden, fit), policy.golden) for fit in (True, False))
    assert np.abs(fitted - exact).mean() < 0.02 * exact.std()  # the ridge keeps it from being exact
    assert np.abs(folded - exact).mean() > 5 * np.abs(fitted - exact).mean()


def test_least_squares_leaves_zeros_and_finds_what_was_lost():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 6))
    truth = rng.normal(size=(3, 6)) * (rng.random((3, 6)) < 0.6)
    target = x @ truth.T + np.array([1.0, -2.0, 0.5])
    start = np.where(truth != 0, 0.1, 0).astype(np.float32)
    found = refit({"w": start, "b": np.zeros(3, np.float32)}, "w", "b", x, target)
    np.testing.assert_array_equal(found["w"] != 0, truth != 0)
    np.testing.assert_allclose(found["w"], truth, atol=0.01)
    np.testing.assert_allclose(found["b"], [1.0, -2.0, 0.5], atol=0.01)


def test_what_matrices_hear_is_what_the_reference_multiplies(network):
    policy = network("gru")
    heard = matrix_inputs(policy, policy.golden)
    normalizer = policy.contract.observation.normalizer
    spread = np.sqrt(np.array(normalizer.variance) + normalizer.epsilon)
    np.testing.assert_allclose(heard["a.weight_ih"], (policy.golden.obs - normalizer.mean) / spread, rtol=1e-4, atol=1e-5)
    starts = np.flatnonzero(policy.golden.start)
    assert (heard["a.weight_hh"][starts] == 0).all()
    np.testing.assert_allclose(
        heard["a.weight_hh"][1:][~policy.golden.start[1:]], heard["b.weight"][:-1][~policy.golden.start[1:]]
    )


def test_a_norm_in_between_is_recorded_as_inexact(network):
    policy = network("norm")
    changed = shrunk(policy, keep=0.5).contract.provenance.passes[-1].changed
    assert changed["through_a_layer_norm"] == ["a"]
    assert changed["units"] == {"a": [8, 4]}


def test_gradual_shrinking_flies(pilot):
    heal = {"steps": 800, "iterations": 1, "epochs": 10, "learning_rate": 0.01, "batch_size": 256}
    steps = [{"pass": "shrink", "keep": 0.25, "rounds": 2, "heal": heal}]
    small = compress(pilot, parse_recipe(steps))
    record = small.contract.provenance.passes[0]
    assert record.changed["rounds"] == [{"one": 8, "two": 8}, {"one": 6, "two": 6}]
    assert small.name.endswith("-s6x6")
    from pilotfish.compress.heal import mean_returns

    assert mean_returns([small], "CartPole-v1", 5)[0] >= 0.95 * 500


def test_what_cannot_be_done_is_said(make):
    policy = make((5, 12, 9, 3))
    with pytest.raises(ValueError, match="one of keep, units and weights"):
        Shrink(keep=0.5, weights=100)
    with pytest.raises(BadInput, match=r"names of hidden layers.*fc1"):
        shrunk(policy, units={"fc11": 3})
    with pytest.raises(BadInput, match="at most the 9 units"):
        shrunk(policy, units={"fc1": 10})
    with pytest.raises(BadInput, match=r"room for one unit.*14 parameters"):
        shrunk(policy, weights=13)
    with pytest.raises(BadInput, match="expected an environment"):
        apply(policy, SHRINK, Shrink(keep=0.5), Context(policy))
    with pytest.raises(BadInput, match="at least one"):
        parse_recipe([])
    bare = dataclasses.replace(policy, golden=None)
    with pytest.raises(BadInput, match="a golden rollout"):
        shrunk(bare, keep=0.5)
    assert shrunk(bare, keep=0.5, criterion="magnitude", reconstruct=False).parameters < policy.parameters
    with pytest.raises(BadInput, match="hidden units between"):
        shrunk(make((5, 3)), keep=0.5)
