"""Laws of mixed bits: the scan measures one layer at a time, the choice keeps its budget or its tolerance, and spends it well."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from pilotfish.compress import Context, apply
from pilotfish.compress.quantize import QUANTIZE
from pilotfish.compress.quantize_settings import Quantize
from pilotfish.compress.replay import Replay
from pilotfish.compress.sensitivity import WIDTHS, choose_bits, sensitivity
from pilotfish.compress.weight_grids import quantized_rows
from pilotfish.errors import BadInput


@pytest.fixture
def policy(make):
    """Three layers, the last of which is worth much more than the middle one."""
    return make((5, 24, 24, 3))


def test_the_scan_measures_each_layer_alone(policy):
    table = sensitivity(policy, policy.golden)
    assert {name: tuple(row) for name, row in table.items()} == {f"fc{k}": WIDTHS for k in range(3)}
    for row in table.values():
        assert 0 < row[8] < row[4] < row[2]
    layers = tuple(dataclasses.replace(e, weight_bits=3) if getattr(e, "name", "") == "fc1" else e for e in policy.layers)
    q, scale = quantized_rows(policy.weights["fc1.weight"], 3)
    weights = policy.weights | {"fc1.weight": q, "fc1.weight_scale": scale}
    assert table["fc1"][3] == Replay(policy, policy.golden).error(layers, weights)


@pytest.mark.parametrize("share", [0.9, 0.7, 0.6])
def test_a_budget_is_kept_and_beats_the_same_bits_everywhere(policy, share):
    eight = apply(policy, QUANTIZE, Quantize(activations="float"), Context(policy))
    budget = int(share * eight.weight_bytes)
    config = Quantize(weight_bits="mixed", budget_bytes=budget, activations="float")
    mixed = apply(policy, QUANTIZE, config, Context(policy))
    changed = mixed.contract.provenance.passes[-1].changed
    assert mixed.name == "tiny-mixed" and mixed.weight_bytes <= budget
    assert mixed.weight_bytes in [tried["weight_bytes"] for tried in changed["tried"]]
    assert changed["weight_bits"] == {e.name: e.weight_bits for e in mixed.layers if hasattr(e, "weight_bits")}
    replay = Replay(policy, policy.golden)
    error = replay.error(mixed.layers, mixed.weights)
    assert error == pytest.approx(changed["weights_action_error"], abs=1e-5)
    for bits in (2, 3, 4):
        same = apply(policy, QUANTIZE, Quantize(weight_bits=bits, activations="float"), Context(policy))
        if same.weight_bytes <= budget:
            assert error <= replay.error(same.layers, same.weights) * 1.0001


def test_a_tolerance_is_kept_and_a_wider_one_saves_more(policy):
    sizes = []
    for tolerance in (0.05, 0.15, 0.4):
        bits, record = choose_bits(policy, policy.golden, tolerance=tolerance)
        assert record["weights_action_error"] <= tolerance
        sizes.append(sum(bits.values()))
    assert sizes[0] > sizes[1] > sizes[2]


def test_limits_that_cannot_be_met_are_refused_with_the_least_possible(policy):
    with pytest.raises(BadInput, match=r"at most 100 bytes.*2 bits everywhere"):
        choose_bits(policy, policy.golden, budget_bytes=100)
    with pytest.raises(BadInput, match="with 8 bits everywhere"):
        choose_bits(policy, policy.golden, tolerance=1e-6)


def test_kept_layers_cells_and_channels_count(make):
    policy = make((4, 8, 8, 2), cell=True)
    config = Quantize(weight_bits="mixed", budget_bytes=1500, keep_float=("fc1",))
    small = apply(policy, QUANTIZE, config, Context(policy))
    assert small.weight_bytes <= 1500
    np.testing.assert_array_equal(small.weights["fc1.weight"], policy.weights["fc1.weight"])
    flat = make((5, 24, 24, 3))
    config = Quantize(weight_bits="mixed", budget_bytes=1200, quantize_input="int8-channel")
    assert apply(flat, QUANTIZE, config, Context(flat)).weight_bytes <= 1200
