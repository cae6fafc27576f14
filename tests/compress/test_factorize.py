"""Laws of factorization: exact at full rank, error falls with rank, no layer ever grows."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pilotfish.compress import Context, apply
from pilotfish.compress.action_error import action_error
from pilotfish.compress.activations import network_outputs
from pilotfish.compress.factorize import FACTORIZE, Factorize
from pilotfish.compress.fold import FOLD, Fold, fold
from pilotfish.compress.lowrank import decompose, largest_useful_rank, rank_for_energy, split
from pilotfish.errors import BadInput
from pilotfish.policy import Action
from pilotfish.policy.layers import Linear
from pilotfish.policy.reference import Reference

shapes = st.tuples(st.integers(1, 14), st.integers(1, 14), st.integers(0, 10_000))


@settings(max_examples=30, deadline=None)
@given(shape=shapes, weighted=st.booleans())
def test_full_rank_reproduces_and_error_is_monotone_in_rank(shape, weighted):
    out, inputs, seed = shape
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=(out, inputs)).astype(np.float32)
    x = rng.normal(size=(50, inputs)) @ rng.normal(size=(inputs, inputs)) if weighted else None
    factors = decompose(weight, x)
    errors = []
    for rank in range(1, min(out, inputs) + 1):
        left, right = (part.astype(np.float64) for part in factors.cut(rank))
        difference = left @ right - weight
        if x is None:
            errors.append(np.linalg.norm(difference))
        else:  # what is minimized: the output error, with the ridge on directions that were not recorded
            moment = x.T @ x / len(x)
            moment += (1e-4 * np.trace(moment) / inputs + 1e-12) * np.eye(inputs)
            errors.append(np.sqrt(max(0, np.trace(difference @ moment @ difference.T))))
    scale = max(errors[0], np.linalg.norm(weight))
    assert errors[-1] <= 1e-4 * scale
    assert all(later <= earlier + 1e-5 * scale for earlier, later in itertools.pairwise(errors))


@settings(max_examples=30, deadline=None)
@given(inputs=st.integers(1, 300), out=st.integers(1, 300))
def test_the_largest_useful_rank_is_the_last_that_shrinks(inputs, out):
    rank = largest_useful_rank(out, inputs)
    assert rank * (inputs + out) < inputs * out <= (rank + 1) * (inputs + out)


def test_energy_picks_the_smallest_rank():
    energy = np.array([8.0, 1.0, 1.0])
    assert [rank_for_energy(energy, share) for share in (0.5, 0.8, 0.81, 0.9, 1.0)] == [1, 1, 2, 2, 3]


def test_a_rank_that_enlarges_names_the_layer_and_the_break_even(make):
    policy = make((5, 40, 40, 3))
    with pytest.raises(BadInput, match=r"break-even of layer fc0 \[40, 5\].*layers = \['fc1'\]"):
        apply(policy, FACTORIZE, Factorize(rank=8), Context(policy))
    small = apply(policy, FACTORIZE, Factorize(rank=8, layers=("fc1",)), Context(policy))
    assert small.parameters == policy.parameters - 1600 + 8 * 80
    assert [layer.name for layer in small.layers if layer.kind == "linear"] == ["fc0", "fc1_v", "fc1_u", "fc2"]


def test_energy_skips_layers_that_would_grow_and_says_so(make):
    policy = make((5, 40, 40, 3))
    low = np.outer(np.arange(40), np.ones(40)).astype(np.float32) / 800
    policy = policy.replace(weights=policy.weights | {"fc1.weight": low})
    small = apply(policy, FACTORIZE, Factorize(energy=0.999), Context(policy))
    changed = small.contract.provenance.passes[-1].changed
    assert changed["ranks"] == {"fc1": 1}
    assert set(changed["skipped"]) == {"fc0", "fc2"}
    np.testing.assert_allclose(Reference(small).act(np.ones(5)), Reference(policy).act(np.ones(5)), atol=1e-5)


def test_recorded_outputs_beat_plain_weights_on_the_rollout(make):
    policy = make((5, 40, 40, 3))
    errors = {}
    for criterion in ("weights", "outputs"):
        small = apply(policy, FACTORIZE, Factorize(rank=6, layers=("fc1",), criterion=criterion), Context(policy))
        actor, full = Reference(small), Reference(policy)
        errors[criterion] = np.mean([(actor.act(obs) - full.act(obs)) ** 2 for obs in policy.golden.obs])
    assert errors["outputs"] < errors["weights"]


@pytest.mark.parametrize(("criterion", "largest"), [("weights", 1.5), ("outputs", 0.5)])
def test_a_tolerated_action_error_is_kept_and_a_larger_one_frees_more(make, criterion, largest):
    policy = make((5, 40, 40, 3))
    wanted, parameters = network_outputs(policy, policy.golden), [policy.parameters]
    for tolerance in (0.01, 0.1, largest):
        small = apply(policy, FACTORIZE, Factorize(tolerance=tolerance, criterion=criterion), Context(policy))
        changed = small.contract.provenance.passes[-1].changed
        error = action_error(policy, wanted, network_outputs(small, policy.golden))
        assert error == pytest.approx(changed["action_error"], rel=1e-3)
        assert error <= tolerance
        parameters.append(small.parameters)
    assert parameters == sorted(parameters, reverse=True)
    assert parameters[-1] < parameters[0]


@pytest.mark.parametrize("settings_", [{"energy": 0.9}, {"tolerance": 0.3}, {"energy": 0.999, "criterion": "outputs"}])
def test_a_cell_is_factorized_and_folds_back(make, settings_):
    rng, policy = np.random.default_rng(0), make((4, 16, 12, 3), cell=True)
    low = 0.3 * rng.normal(size=(48, 4)) @ rng.normal(size=(4, 16)) + 0.01 * rng.normal(size=(48, 16))
    policy = policy.replace(weights=policy.weights | {"gru.weight_hh": low.astype(np.float32)})
    small = apply(policy, FACTORIZE, Factorize(layers=("gru",), **settings_), Context(policy))
    cell, ranks = small.layers[0], small.contract.provenance.passes[-1].changed["ranks"]
    assert 1 <= cell.rank_hh <= 4
    assert cell.rank_hh == ranks["gru.weight_hh"]
    assert cell.rank_ih == ranks.get("gru.weight_ih")
    assert small.contract.state == policy.contract.state
    assert small.parameters < policy.parameters
    wanted, found = network_outputs(policy, policy.golden), network_outputs(small, policy.golden)
    error = action_error(policy, wanted, found)
    assert error < (0.3 if "tolerance" in settings_ else 1.0)
    whole = apply(small, FOLD, Fold(), Context(small))
    assert whole.layers == policy.layers
    np.testing.assert_allclose(network_outputs(whole, policy.golden), found, atol=1e-4)


def test_a_tolerance_that_allows_nothing_leaves_all_as_it_is(make):
    policy = make((5, 40, 40, 3))
    same = apply(policy, FACTORIZE, Factorize(tolerance=1e-9), Context(policy))
    assert same.layers == policy.layers
    assert set(same.contract.provenance.passes[-1].changed["skipped"]) == {"fc0", "fc1", "fc2"}


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rank=st.integers(1, 40), seed=st.integers(0, 99))
def test_folding_undoes_splitting(make, rank, seed):
    policy = make((5, 40, 12, 3), seed)
    halves = {"fc1.weight": decompose(policy.weights["fc1.weight"]).cut(min(rank, 12))}
    thin = split(policy, halves)
    whole = apply(thin, FOLD, Fold(), Context(thin))
    assert whole.layers == policy.layers
    np.testing.assert_allclose(whole.weights["fc1.weight"], np.matmul(*halves["fc1.weight"], dtype=np.float64), atol=1e-6)
    np.testing.assert_array_equal(whole.weights["fc1.bias"], policy.weights["fc1.bias"])
    for obs in policy.golden.obs[::20]:
        np.testing.assert_allclose(Reference(whole).act(obs), Reference(thin).act(obs), rtol=1e-4, atol=1e-4)
    smaller = fold(thin, "smaller")
    assert smaller.parameters == min(thin.parameters, whole.parameters)


def test_a_run_of_three_folds_into_one_and_biases_with_it(make):
    policy = make((6, 5, 4, 3))
    linear = tuple(layer for layer in policy.layers if isinstance(layer, Linear))
    policy = policy.replace(layers=linear)
    one = apply(policy, FOLD, Fold(), Context(policy))
    assert one.layers == (Linear("fc2", 6, 3),)
    for obs in policy.golden.obs[::20]:
        np.testing.assert_allclose(Reference(one).act(obs), Reference(policy).act(obs), rtol=1e-4, atol=1e-4)


def test_action_errors_are_counted_as_actuators_feel_them(make):
    policy = make((5, 4, 2))
    bounded = dataclasses.replace(policy.contract, action=Action("continuous", 2, low=(-1.0, -2.0), high=(1.0, 2.0)))
    beyond = np.array([[5.0, 0.0], [5.0, 0.0]])
    assert action_error(policy.replace(contract=bounded), beyond, beyond + np.array([[3.0, 0.0], [0.0, 0.0]])) == 0
    assert action_error(policy.replace(contract=bounded), beyond, beyond + np.array([[0.0, 2.0]])) == pytest.approx(np.sqrt(0.5))
    discrete = dataclasses.replace(policy.contract, action=Action("discrete", 2))
    assert action_error(policy.replace(contract=discrete), beyond, np.array([[1.0, 0.5], [0.0, 1.0]])) == 0.5


def test_rank_and_energy_exclude_each_other():
    with pytest.raises(ValueError, match="either rank, energy or tolerance"):
        Factorize()
    with pytest.raises(ValueError, match="either rank, energy or tolerance"):
        Factorize(rank=2, energy=0.9)
