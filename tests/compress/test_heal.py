"""Laws of healing: zeros, layers and grids stay; the return comes back; what healing made worse is not kept."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from pilotfish.compress import Context, apply, compress, parse_recipe, summary
from pilotfish.compress.heal import HEAL, Heal, mean_returns
from pilotfish.compress.matrices import matrices, nonzero_masks
from pilotfish.compress.passes import BrokenPass, PassResult
from pilotfish.errors import BadInput

ENV = "CartPole-v1"
QUICK = {"steps": 1500, "iterations": 2, "epochs": 10, "batch_size": 256, "learning_rate": 0.01}


def test_pruned_int8_and_healed_flies_again(pilot):
    steps = [
        {"pass": "prune", "sparsity": 0.8, "schedule": "one-shot"},
        {"pass": "quantize"},
        {"pass": "heal"} | QUICK,
    ]
    records = []
    small = compress(pilot, parse_recipe(steps), on_pass=lambda _, record: records.append(record))
    before, after = records[-1].changed["return"]
    assert after >= 0.95 * 500
    assert after >= before
    assert "return" in summary(records[-1])
    assert small.precision == "int8"
    assert small.contract.provenance.parents == (pilot.digest,)
    share = np.mean(np.concatenate([small.weights[name].ravel() == 0 for name in matrices(small.layers)]))
    assert share >= 0.8 - 1e-3
    assert small.golden is not None
    assert small.golden.source == "environment"


def test_gradual_pruning_reaches_the_sparsity_and_flies(pilot):
    heal = {"steps": 800, "iterations": 1, "epochs": 10, "learning_rate": 0.01, "batch_size": 256}
    steps = [{"pass": "prune", "sparsity": 0.75, "rounds": 3, "heal": heal}]
    small = compress(pilot, parse_recipe(steps))
    record = small.contract.provenance.passes[0]
    assert record.changed["sparsity"] == pytest.approx(0.75, abs=0.01)
    assert record.changed["rounds"] == pytest.approx([0.75 * (1 - (2 / 3) ** 3), 0.75 * (1 - (1 / 3) ** 3), 0.75], abs=1e-5)
    assert mean_returns([small], ENV, 5)[0] >= 0.95 * 500


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_every_zero_stays(pilot, precision):
    steps = [{"pass": "prune", "sparsity": 0.6, "schedule": "one-shot"}]
    steps += [{"pass": "quantize"}] if precision == "int8" else []
    crippled = compress(pilot, parse_recipe(steps))
    context = Context(pilot, ENV)
    healed = apply(crippled, HEAL, Heal(**QUICK | {"steps": 300, "iterations": 1, "epochs": 4}, episodes=0), context)
    assert healed.layers == crippled.layers
    moved = 0
    for name, mask in nonzero_masks(crippled.layers, crippled.weights).items():
        assert not healed.weights[name][~mask].any()
        if precision == "fp32":
            np.testing.assert_array_equal(healed.weights[name] != 0, mask)
        moved += int((healed.weights[name] != crippled.weights[name]).sum())
    assert moved > 0  # it did learn


def test_a_heal_that_fills_zeros_is_caught(pilot):
    sparse = compress(pilot, parse_recipe([{"pass": "prune", "sparsity": 0.6, "schedule": "one-shot"}]))
    careless = dataclasses.replace(HEAL, run=lambda policy, _, __: PassResult(policy.replace(weights=pilot.weights), {}))
    with pytest.raises(BrokenPass, match=r"pruned weights of one\.weight filled again"):
        apply(sparse, careless, Heal(), Context(pilot, ENV))


def test_what_healing_made_worse_is_not_kept(pilot, monkeypatch):
    from pilotfish.compress import heal

    ruined = pilot.replace(weights={name: -tensor for name, tensor in pilot.weights.items()})
    monkeypatch.setattr(heal, "imitate", lambda *_: ruined)
    kept = apply(pilot, HEAL, Heal(), Context(pilot, ENV))
    changed = kept.contract.provenance.passes[-1].changed
    assert changed["kept"].startswith("before")
    assert changed["return"][1] < changed["return"][0] == 500.0
    np.testing.assert_array_equal(kept.weights["one.weight"], pilot.weights["one.weight"])


def test_distill_makes_the_shape_asked_for(pilot):
    steps = [{"pass": "distill", "hidden": [6], "activation": "relu"} | QUICK | {"epochs": 40}]
    small = compress(pilot, parse_recipe(steps))
    assert [layer.kind for layer in small.layers] == ["linear", "activation", "linear"]
    assert small.parameters == 4 * 6 + 6 + 6 * 2 + 2
    assert small.name == "pilot-6"
    assert mean_returns([small], ENV, 5)[0] >= 0.95 * 500


def test_a_policy_with_memory_needs_a_student_with_memory(make):
    policy = make((4, 8, 2), cell=True)
    with pytest.raises(BadInput, match='Set cell = "gru"'):
        compress(policy, parse_recipe([{"pass": "distill", "hidden": [4], "without_environment": True}]))


def test_without_an_environment_only_when_told_and_with_a_note(make):
    policy = make(source="random observations")
    with pytest.raises(BadInput, match="without_environment = true"):
        compress(policy, parse_recipe([{"pass": "heal"}]))
    steps = [
        {"pass": "prune", "sparsity": 0.5, "schedule": "one-shot"},
        {"pass": "heal", "without_environment": True} | QUICK,
    ]
    healed = compress(policy, parse_recipe(steps))
    assert any("without an environment" in note for note in healed.contract.provenance.notes)
    assert "return" not in healed.contract.provenance.passes[-1].changed


def test_an_environment_of_another_shape_is_refused_early(pilot):
    with pytest.raises(BadInput, match="observation of size 4"):
        compress(pilot, parse_recipe([{"pass": "heal"}]), env="InvertedDoublePendulum-v5")
