"""The law of trimming: fewer units, the same function."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pilotfish.compress import Context, apply
from pilotfish.compress.prune import PRUNE, Prune
from pilotfish.compress.trim import TRIM, Trim
from pilotfish.policy.reference import Reference


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sparsity=st.floats(0.5, 0.97),
    activation=st.sampled_from(["tanh", "relu", "elu", "silu", "sigmoid"]),
    seed=st.integers(0, 999),
)
def test_trimming_keeps_the_function(make, sparsity, activation, seed):
    policy = make((6, 20, 16, 3), seed, activation=activation)
    context = Context(policy)
    pruned = apply(policy, PRUNE, Prune(sparsity, schedule="one-shot", reconstruct=False), context)
    trimmed = apply(pruned, TRIM, Trim(), context)
    assert trimmed.parameters <= pruned.parameters
    before, after = Reference(pruned, np.float64), Reference(trimmed, np.float64)
    for obs in policy.golden.obs[::10]:
        np.testing.assert_allclose(after.act(obs), before.act(obs), atol=1e-6, rtol=1e-6)


def test_dead_units_leave_and_cascade(make):
    policy = make((6, 20, 16, 3))
    weights = {name: tensor.copy() for name, tensor in policy.weights.items()}
    weights["fc0.weight"][:5] = 0  # constants
    weights["fc2.weight"][:, 10:] = 0  # six unheard units …
    weights["fc1.weight"][:10, 19] = 0  # … the only listeners of unit 19 of the first layer
    dead = policy.replace(weights=weights)
    trimmed = apply(dead, TRIM, Trim(), Context(dead))
    assert [layer.out_size for layer in trimmed.layers if layer.kind == "linear"] == [14, 10, 3]
    assert trimmed.contract.provenance.passes[-1].changed["removed_units"] == {"fc0": 6, "fc1": 6}
    np.testing.assert_allclose(Reference(trimmed).act(np.ones(6)), Reference(dead).act(np.ones(6)), atol=1e-5)


def test_a_layer_that_is_dead_altogether_keeps_one_unit(make):
    policy = make((6, 4, 3))
    dead = policy.replace(weights=policy.weights | {"fc0.weight": np.zeros((4, 6), np.float32)})
    trimmed = apply(dead, TRIM, Trim(), Context(dead))
    assert trimmed.layers[0].out_size == 1
    assert Reference(trimmed).act(np.ones(6)) == pytest.approx(Reference(dead).act(np.ones(6)), abs=1e-5)
