"""Laws of pruning: the sparsity asked for, the largest weights kept, biases untouched, no matrix emptied."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilotfish.compress import Context, apply
from pilotfish.compress.action_error import action_error
from pilotfish.compress.activations import network_outputs
from pilotfish.compress.heal import HEAL, Heal
from pilotfish.compress.matrices import entries, matrices, nonzero_masks, pruned_masks, zeros
from pilotfish.compress.patterns import Tiles, magnitude_masks, n_of_m_masks
from pilotfish.compress.prune import PRUNE, Prune, scores
from pilotfish.errors import BadInput
from pilotfish.policy.cells import CfC
from pilotfish.policy.layers import Linear, tensor_shapes
from pilotfish.train.sparse.distribution import densities


@settings(max_examples=20, deadline=None)
@given(sparsity=st.floats(0.01, 0.99), scope=st.sampled_from(["global", "layer"]), seed=st.integers(0, 99))
def test_masks_zero_exactly_the_asked_fraction_and_keep_the_largest(sparsity, scope, seed):
    rng = np.random.default_rng(seed)
    weights = {"a.weight": rng.normal(size=(7, 5)), "b.weight": 0.1 * rng.normal(size=(3, 7))}
    masks = magnitude_masks(weights, list(weights), sparsity, scope)
    groups = [list(weights)] if scope == "global" else [["a.weight"], ["b.weight"]]
    for group in groups:
        mask = np.concatenate([masks[name].ravel() for name in group])
        magnitude = np.concatenate([np.abs(weights[name]).ravel() for name in group])
        assert (~mask).sum() == round(sparsity * mask.size)
        if mask.any() and not mask.all():
            assert magnitude[mask].min() >= magnitude[~mask].max()


@pytest.mark.parametrize("scope", ["global", "layer"])
def test_one_shot_prunes_matrices_and_only_them(make, scope):
    policy = make()
    pruned = apply(policy, PRUNE, Prune(0.6, scope=scope, schedule="one-shot", reconstruct=False), Context(policy))
    masks = nonzero_masks(pruned.layers, pruned.weights)
    assert zeros(masks) == pytest.approx(0.6 * entries(masks), abs=1.5)
    for name, tensor in policy.weights.items():
        if name not in matrices(policy.layers):
            np.testing.assert_array_equal(pruned.weights[name], tensor)
        else:
            np.testing.assert_array_equal(pruned.weights[name][masks[name]], tensor[masks[name]])


def test_cells_are_pruned_too(make):
    policy = make((4, 8, 2), cell=True)
    pruned = apply(policy, PRUNE, Prune(0.5, schedule="one-shot", reconstruct=False), Context(policy))
    assert (pruned.weights["gru.weight_hh"] == 0).mean() == pytest.approx(0.5)
    np.testing.assert_array_equal(pruned.weights["gru.bias_hh"], policy.weights["gru.bias_hh"])


@pytest.mark.parametrize("backbone", [(), (7,)])
def test_a_cfc_is_pruned_fitted_and_keeps_its_zeros(make, backbone):
    rng, policy = np.random.default_rng(0), make((5, 8, 3))
    layers = (CfC("cell", 5, 12, backbone), Linear("fc", 12, 3))
    shapes = {name: shape for layer in layers for name, (shape, _) in tensor_shapes(layer).items()}
    weights = {name: rng.normal(scale=0.5, size=shape).astype(np.float32) for name, shape in shapes.items()}
    policy = policy.replace(layers=layers, weights=weights)
    context = Context(policy)
    pruned = apply(policy, PRUNE, Prune(0.5, schedule="one-shot"), context)
    masks = pruned_masks(pruned)
    assert set(masks) == {name for name, shape in shapes.items() if len(shape) == 2}
    assert all(mask.mean() == pytest.approx(0.5, abs=0.02) for mask in masks.values())
    error = {}
    for fit in (False, True):
        found = apply(policy, PRUNE, Prune(0.5, schedule="one-shot", reconstruct=fit), context)
        error[fit] = action_error(policy, network_outputs(policy, policy.golden), network_outputs(found, policy.golden))
    assert error[True] < 0.5 * error[False]
    heal = Heal(steps=200, iterations=1, epochs=3, without_environment=True)
    healed = apply(pruned, HEAL, heal, context)
    for name, mask in masks.items():
        assert not healed.weights[name][~mask].any()


def test_pruning_again_never_fills_zeros(make):
    policy = make()
    context = Context(policy)
    sparse = apply(policy, PRUNE, Prune(0.8, schedule="one-shot"), context)
    again = apply(sparse, PRUNE, Prune(0.3, schedule="one-shot"), context)
    assert again.nonzero_parameters == sparse.nonzero_parameters


@settings(max_examples=20, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 20), st.integers(1, 20)),
    tile=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    sparsity=st.floats(0, 1),
    seed=st.integers(0, 99),
)
def test_blocks_leave_whole_and_the_weakest_first(shape, tile, sparsity, seed):
    weight = np.random.default_rng(seed).normal(size=shape)
    tiles = Tiles(shape, tile)
    mask = magnitude_masks({"w": weight}, ["w"], sparsity, "layer", tile)["w"]
    live, sizes = tiles.totals(mask), tiles.sizes()
    assert ((live == 0) | (live == sizes)).all()
    assert sizes.sum() == weight.size
    power = tiles.totals(weight**2) / sizes
    if (live > 0).any() and (live == 0).any():
        assert power[live > 0].min() >= power[live == 0].max()
    assert abs((~mask).sum() - round(sparsity * mask.size)) <= sizes.max() / 2


@settings(max_examples=30, deadline=None)
@given(n=st.integers(1, 4), m=st.integers(2, 8), seed=st.integers(0, 99))
def test_n_of_m_keeps_the_largest_of_every_group(n, m, seed):
    weight = np.random.default_rng(seed).normal(size=(5, 4 * m + 1))
    mask = n_of_m_masks({"w": weight}, ["w"], min(n, m), m)["w"]
    groups, kept = np.abs(weight[:, :-1]).reshape(5, 4, m), mask[:, :-1].reshape(5, 4, m)
    assert (kept.sum(axis=2) == min(n, m)).all()
    assert (np.where(kept, groups, np.inf).min(axis=2) >= np.where(kept, 0, groups).max(axis=2)).all()


@pytest.mark.parametrize("block", [(4, 1), (1, 4), (8, 1), "2:4", "1:4"])
@pytest.mark.parametrize("cell", [False, True])
def test_patterns_of_a_policy(make, block, cell):
    policy = make((6, 32, 24, 3), cell=cell)
    config = Prune(None if isinstance(block, str) else 0.5, block=block, schedule="one-shot")
    pruned = apply(policy, PRUNE, config, Context(policy))
    for mask in nonzero_masks(pruned.layers, pruned.weights).values():
        if isinstance(block, str):
            n, m = map(int, block.split(":"))
            assert mask.shape[1] % m or mask.mean() == n / m
        else:
            tiles = Tiles(mask.shape, block)
            assert set(np.round(tiles.totals(mask) / tiles.sizes(), 6)) <= {0.0, 1.0}


@pytest.mark.parametrize("criterion", ["magnitude", "surgeon"])
@pytest.mark.parametrize("cell", [False, True])
def test_what_is_left_takes_over(make, criterion, cell):
    """Least squares brings the pruned policy nearer on the recorded steps, in rounds nearer still, and fills no zero."""
    policy = make((6, 32, 24, 3), cell=cell)
    start, wanted, errors = Context(policy), network_outputs(policy, policy.golden), []
    for settings_ in (
        {"schedule": "one-shot", "reconstruct": False},
        {"schedule": "one-shot"},
        {"schedule": "fitted", "rounds": 3},
    ):
        pruned = apply(policy, PRUNE, Prune(0.7, scope="erdos-renyi", criterion=criterion, **settings_), start)
        errors.append(action_error(policy, wanted, network_outputs(pruned, policy.golden)))
        assert zeros(nonzero_masks(pruned.layers, pruned.weights)) == pytest.approx(
            0.7 * entries(nonzero_masks(policy.layers, policy.weights)), abs=1.5
        )
        assert pruned.contract.provenance.passes[-1].changed["fitted_to_steps"] == (0 if "reconstruct" in settings_ else 200)
    assert errors[1] < 0.5 * errors[0]
    assert errors[2] < 1.2 * errors[1]


def test_the_surgeon_takes_what_its_neighbours_know(make):
    """Two inputs that are one: the weight of either is worth nothing, however large it is."""
    policy = make((6, 8, 3))
    obs = policy.golden.obs.copy()
    normalizer = policy.contract.observation.normalizer
    unit = np.sqrt(np.array(normalizer.variance) + normalizer.epsilon)
    obs[:, 1] = normalizer.mean[1] + (obs[:, 0] - normalizer.mean[0]) / unit[0] * unit[1]
    golden = dataclasses.replace(policy.golden, obs=obs)
    found = scores(policy, "surgeon", golden)["fc0.weight"] / np.abs(policy.weights["fc0.weight"])
    assert found[:, :2].max() < 0.1 * found[:, 2:].min()


def test_a_rollout_of_any_length_is_recorded_for_the_fit(pilot, make):
    config = Prune(0.7, schedule="one-shot", rollout=300)
    pruned = apply(pilot, PRUNE, config, Context(pilot, "CartPole-v1"))
    assert pruned.contract.provenance.passes[-1].changed["fitted_to_steps"] == 300
    with pytest.raises(BadInput, match="an environment to record 300 steps in"):
        apply(pilot, PRUNE, config, Context(pilot))
    bare = make((6, 8, 3), source="")
    with pytest.raises(BadInput, match="a golden rollout recorded in the environment"):
        apply(bare, PRUNE, Prune(0.5, schedule="fitted"), Context(bare))
    plain = apply(bare, PRUNE, Prune(0.5, schedule="one-shot"), Context(bare))
    assert plain.contract.provenance.passes[-1].changed["fitted_to_steps"] == 0


def test_erdos_renyi_keeps_the_shares_of_training(make):
    policy = make((6, 64, 48, 3))
    pruned = apply(policy, PRUNE, Prune(0.8, scope="erdos-renyi", schedule="one-shot"), Context(policy))
    names = matrices(policy.layers)
    shares = densities([policy.weights[name].shape[::-1] for name in names], 0.8, "erdos-renyi")
    found = nonzero_masks(pruned.layers, pruned.weights)
    for name, share in zip(names, shares, strict=True):
        assert found[name].mean() == pytest.approx(share)
    assert zeros(found) == round(0.8 * entries(found))
    assert shares[2] == 1 > shares[1]


@pytest.mark.parametrize(("curve", "rounds"), [("linear", 2), ("harmonic", 9)])
def test_a_gradual_curve_reaches_its_end_and_fills_no_earlier_zero(pilot, curve, rounds):
    holed = pilot.weights["two.weight"].copy()
    holed[:, 5] = 0
    policy = pilot.replace(weights=pilot.weights | {"two.weight": holed})
    heal = {"steps": 64, "iterations": 1, "epochs": 1}
    pruned = apply(policy, PRUNE, Prune(0.6, curve=curve, rounds=rounds, heal=heal), Context(pilot, "CartPole-v1"))
    changed = pruned.contract.provenance.passes[-1].changed
    assert len(changed["rounds"]) == rounds
    assert changed["rounds"][-1] == 0.6
    assert changed["sparsity"] == pytest.approx(0.6, abs=0.01)
    assert (pruned.weights["two.weight"][:, 5] == 0).all()
    if curve == "harmonic":  # it falls between some rounds, and says how many weights came back
        falls = [b < a for a, b in itertools.pairwise(changed["rounds"])]
        assert any(falls)
        assert [count > 0 for count in changed["regrown"][1:]] == falls
    else:
        assert changed["rounds"] == sorted(changed["rounds"])
        assert "regrown" not in changed


def test_settings_that_contradict_each_other_are_refused():
    for settings_, message in (
        ({}, "sparsity is missing"),
        ({"block": "4:4"}, "keeps all"),
        ({"block": "2:4", "sparsity": 0.7}, "is a sparsity of 0.5"),
        ({"block": "2:4", "scope": "global"}, "no choice of scope"),
        ({"block": "2/4"}, "pattern"),
        ({"sparsity": 0.5, "schedule": "fitted", "reconstruct": False}, "leaves nothing of it"),
        ({"block": [0, 1], "sparsity": 0.5}, "greater than or equal"),
    ):
        with pytest.raises(ValueError, match=message):
            Prune(**settings_)
    assert Prune(block="1:4").final == 0.75


def test_a_matrix_that_would_be_emptied_is_refused_with_the_repair(make):
    policy = make()
    faint = policy.replace(weights=policy.weights | {"fc2.weight": policy.weights["fc2.weight"] * np.float32(1e-4)})
    with pytest.raises(BadInput, match=r'none left in fc2\.weight.*scope = "layer"'):
        apply(faint, PRUNE, Prune(0.5, scope="global", schedule="one-shot"), Context(faint))


def test_gradual_needs_an_environment(make):
    policy = make()
    with pytest.raises(BadInput, match="expected an environment"):
        apply(policy, PRUNE, Prune(0.5), Context(policy))
