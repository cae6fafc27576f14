"""Laws of pruning: the sparsity asked for, the largest weights kept, biases untouched, no matrix emptied."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilotfish.compress import Context, apply
from pilotfish.compress.matrices import entries, matrices, nonzero_masks, zeros
from pilotfish.compress.prune import PRUNE, Prune, cubic, magnitude_masks
from pilotfish.errors import BadInput


@settings(max_examples=40, deadline=None)
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
    pruned = apply(policy, PRUNE, Prune(0.6, scope=scope, schedule="one-shot"), Context(policy))
    masks = nonzero_masks(pruned.layers, pruned.weights)
    assert zeros(masks) == pytest.approx(0.6 * entries(masks), abs=1.5)
    for name, tensor in policy.weights.items():
        if name not in matrices(policy.layers):
            np.testing.assert_array_equal(pruned.weights[name], tensor)
        else:
            np.testing.assert_array_equal(pruned.weights[name][masks[name]], tensor[masks[name]])


def test_cells_are_pruned_too(make):
    policy = make((4, 8, 2), cell=True)
    pruned = apply(policy, PRUNE, Prune(0.5, schedule="one-shot"), Context(policy))
    assert (pruned.weights["gru.weight_hh"] == 0).mean() == pytest.approx(0.5)
    np.testing.assert_array_equal(pruned.weights["gru.bias_hh"], policy.weights["gru.bias_hh"])


def test_pruning_again_never_fills_zeros(make):
    policy = make()
    context = Context(policy)
    sparse = apply(policy, PRUNE, Prune(0.8, schedule="one-shot"), context)
    again = apply(sparse, PRUNE, Prune(0.3, schedule="one-shot"), context)
    assert again.nonzero_parameters == sparse.nonzero_parameters


def test_cubic_schedule_follows_zhu_and_gupta():
    assert cubic(0.1, 0.9, 0.2, 0.8) == 0
    assert cubic(0.8, 0.9, 0.2, 0.8) == cubic(1.0, 0.9, 0.2, 0.8) == 0.9
    assert cubic(0.5, 0.8, 0.0, 1.0) == pytest.approx(0.8 * (1 - 0.5**3))
    steps = [cubic(t, 0.9, 0.2, 0.8) for t in np.linspace(0, 1, 50)]
    assert all(b >= a for a, b in itertools.pairwise(steps))


def test_a_matrix_that_would_be_emptied_is_refused_with_the_repair(make):
    policy = make()
    faint = policy.replace(weights=policy.weights | {"fc2.weight": policy.weights["fc2.weight"] * np.float32(1e-4)})
    with pytest.raises(BadInput, match=r'none left in fc2\.weight.*scope = "layer"'):
        apply(faint, PRUNE, Prune(0.5, scope="global", schedule="one-shot"), Context(faint))


def test_gradual_needs_an_environment(make):
    policy = make()
    with pytest.raises(BadInput, match="expected an environment"):
        apply(policy, PRUNE, Prune(0.5), Context(policy))
