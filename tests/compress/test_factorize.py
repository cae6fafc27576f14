"""Laws of factorization: exact at full rank, error falls with rank, no layer ever grows."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilotfish.compress import Context, apply
from pilotfish.compress.factorize import FACTORIZE, Factorize, decompose, largest_useful_rank, rank_for_energy
from pilotfish.errors import BadInput
from pilotfish.policy.layers import Linear
from pilotfish.policy.reference import Reference

shapes = st.tuples(st.integers(1, 14), st.integers(1, 14), st.integers(0, 10_000))


@settings(max_examples=60, deadline=None)
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


@settings(max_examples=60, deadline=None)
@given(inputs=st.integers(1, 300), out=st.integers(1, 300))
def test_the_largest_useful_rank_is_the_last_that_shrinks(inputs, out):
    rank = largest_useful_rank(Linear("l", inputs, out))
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


def test_rank_and_energy_exclude_each_other():
    with pytest.raises(ValueError, match="either rank or energy"):
        Factorize()
    with pytest.raises(ValueError, match="either rank or energy"):
        Factorize(rank=2, energy=0.9)
