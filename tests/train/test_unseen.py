"""Laws of a student that sees less than its teacher: what it may not see has no weight, whatever passes follow."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

pytest.importorskip("gymnasium", reason="gymnasium is not installed")

from pilotfish.compress import compress, parse_recipe
from pilotfish.compress.activations import network_outputs
from pilotfish.compress.distill import Distill, student_of
from pilotfish.compress.heal import mean_returns
from pilotfish.compress.imitation import Imitation
from pilotfish.compress.lowrank import decompose
from pilotfish.compress.observes import blindfold, ignored, note_of, promised, unseen
from pilotfish.compress.passes import BrokenPass, Context, Pass, PassResult, apply
from pilotfish.errors import BadInput
from pilotfish.policy import Action, Contract, Golden, Normalizer, Observation, Policy, Provenance
from pilotfish.policy.cells import GRU, LSTM, CfC
from pilotfish.policy.grid import Quantize
from pilotfish.policy.layers import Activation, History, LayerNorm, Linear, tensor_shapes
from pilotfish.policy.record import record_golden
from pilotfish.train import DistillConfig
from pilotfish.train.distill import distill

POLE = "CartPole-v1"
NAMES = ("position", "velocity", "angle", "angular velocity")
QUICK = {"steps": 600, "iterations": 2, "epochs": 2, "judged_episodes": 2, "n_envs": 8}
BLIND = {"pass": "distill", "observes": ["position", 2], **QUICK}
HEAL = {"pass": "heal", "episodes": 0, **QUICK}


@pytest.fixture(scope="module")
def balancer() -> Policy:
    """Balances by all four entries: pushes right against left by a linear rule."""
    observation = Observation(
        4, names=NAMES, slices={"speeds": (1, 2)}, normalizer=Normalizer((0.0,) * 4, (0.25,) * 4, clip=10.0)
    )
    contract = Contract(observation, Action("discrete", 2), provenance=Provenance(env=POLE))
    weights = {"out.weight": np.array([[0] * 4, [0.05, 0.2, 2.0, 0.6]], np.float32), "out.bias": np.zeros(2, np.float32)}
    policy = Policy("balancer", contract, (Linear("out", 4, 2),), weights)
    return policy.replace(golden=record_golden(policy, POLE, steps=200, seed=0))


def heard(policy: Policy) -> set[int]:
    """The entries that change what the network gives over 60 steps, whatever finite number stands in their place."""
    rng = np.random.default_rng(0)
    obs = rng.normal(size=(60, policy.contract.observation.size)).astype(np.float32)
    nothing, start = np.zeros((60, 0), np.float32), np.arange(60) % 30 == 0
    plain = network_outputs(policy, Golden(obs, nothing, nothing, start, "random observations"))
    found = set()
    for entry in range(obs.shape[1]):
        other = obs.copy()
        other[:, entry] = rng.choice([0.0, -1e6, 1e9, 3.0], 60)
        changed = network_outputs(policy, Golden(other, nothing, nothing, start, "random observations"))
        assert np.isfinite(changed).all()
        if not np.array_equal(plain, changed):
            found.add(entry)
    return found


@pytest.mark.parametrize(
    "shape", [{"hidden": [6]}, {"hidden": []}, {"hidden": [4], "cell": "gru", "cell_size": 4}, {"cell": "lstm"}]
)
def test_what_a_student_may_not_see_it_does_not_hear(balancer, tmp_path, shape) -> None:
    small = compress(balancer, parse_recipe([BLIND | shape]), device="cpu")
    assert heard(small) == {0, 2}
    assert ignored(small) == promised(small) == {1, 3}
    assert small.contract.observation == balancer.contract.observation
    record = small.contract.provenance.passes[-1]
    assert record.changed["ignores"] == [1, 3]
    assert small.contract.provenance.notes[-1].startswith("ignores observation entries 1 (velocity), 3 (angular velocity)")
    loaded = Policy.load(small.save(tmp_path / "small.policy"))
    assert promised(loaded) == {1, 3}
    assert heard(balancer) == {0, 1, 2, 3}


@pytest.mark.parametrize(
    "steps",
    [
        [HEAL],
        [{"pass": "prune", "sparsity": 0.4, "schedule": "one-shot"}, HEAL],
        [{"pass": "prune", "sparsity": 0.4, "schedule": "gradual", "rounds": 2, "heal": QUICK}],
        [{"pass": "prune", "sparsity": 0.4, "schedule": "gradual", "rounds": 3, "curve": "harmonic", "heal": QUICK}],
        [{"pass": "prune", "sparsity": 0.4, "schedule": "fitted", "criterion": "surgeon", "rollout": 200}, {"pass": "trim"}],
        [{"pass": "shrink", "keep": 0.5, "schedule": "one-shot"}, HEAL],
        [{"pass": "factorize", "rank": 1, "layers": ["hidden0"]}, HEAL],
        [{"pass": "factorize", "energy": 0.99, "criterion": "outputs"}],
        [{"pass": "lowrank", "rank": 2, "layers": ["hidden1"], **QUICK}, HEAL],
        [{"pass": "fold"}],
        [{"pass": "quantize"}, HEAL],
        [{"pass": "quantize", "weight_bits": 4, "activations": "float"}, HEAL],
        [{"pass": "quantize", "weight_bits": 16}],
        [{"pass": "distill", "hidden": [5], **QUICK}],
    ],
    ids=lambda steps: "-".join(str(step.get("schedule", step["pass"])) for step in steps),
)
def test_what_it_may_not_see_stays_unseen_whatever_follows(balancer, steps) -> None:
    small = compress(balancer, parse_recipe([BLIND | {"hidden": [8, 8]}, *steps]), device="cpu")
    assert ignored(small) >= {1, 3}
    assert not heard(small) & {1, 3}


@pytest.mark.parametrize("inputs", [False, True])
def test_factors_leave_a_column_of_zeros_exactly_zero(inputs) -> None:
    rng = np.random.default_rng(0)
    weight = rng.normal(size=(8, 6)).astype(np.float32)
    weight[:, [1, 3]] = 0
    factors = decompose(weight, rng.normal(size=(50, 6)) @ rng.normal(size=(6, 6)) if inputs else None)
    left, right = factors.cut(6)
    assert not right[:, [1, 3]].any() and right[:, [0, 2, 4, 5]].any(axis=0).all()
    np.testing.assert_allclose(left @ right, weight, atol=1e-5)


def test_a_pass_that_lets_it_peek_is_stopped(balancer) -> None:
    """No pass of the table does: one is made here that puts the weights of a seeing policy back."""
    small = compress(balancer, parse_recipe([BLIND | {"hidden": []}]), device="cpu")
    peek = Pass("peek", Imitation, lambda policy, *_: PassResult(policy.replace(weights=balancer.weights), {}))
    with pytest.raises(BrokenPass, match="stay out of it, found weights on entries \\[1, 3\\]"):
        apply(small, peek, Imitation(), Context(balancer))


@pytest.mark.parametrize("settings", [{"pass": "hash", "share": 0.5}, {"pass": "lowrank", "rank": 1}])
def test_passes_that_would_fill_zeros_refuse_them(balancer, settings) -> None:
    recipe = parse_recipe([BLIND | {"hidden": [8, 8]}, settings | QUICK | {"layers": ["hidden0"]}])
    with pytest.raises(BadInput, match="no zeros in hidden0"):
        compress(balancer, recipe, device="cpu")


def test_memory_makes_up_for_what_cannot_be_seen(balancer) -> None:
    """Without velocities the pole cannot be balanced step by step; a cell that remembers positions finds them."""
    returns = {}
    for cell, hidden in (("none", (16,)), ("gru", ())):
        student = student_of(balancer, Distill(hidden=hidden, cell=cell, cell_size=8), seed=0)
        config = DistillConfig(
            steps=4_000, iterations=4, n_envs=16, epochs=10, batch_size=256, window=8, learning_rate=1e-2, eval_episodes=5
        )
        taught = distill(balancer, student, config, device="cpu", progress=False, masks=blindfold(student.layers, (1, 3)))
        assert ignored(taught) == {1, 3}
        returns[cell] = mean_returns((taught,), POLE, 10)[0]
    assert returns["gru"] > 200 and returns["gru"] > 3 * returns["none"]


def test_entries_go_by_index_by_name_and_by_slice(balancer) -> None:
    observation = balancer.contract.observation
    assert unseen(observation, (0, "angle"), "here") == (1, 3)
    assert unseen(observation, ("speeds", "angle"), "here") == (0, 3)
    assert unseen(observation, (0, 1, 2, 3), "here") == ()
    for wrong in (4, -1, "speed"):
        with pytest.raises(BadInput, match="indices from 0 to 3, or of: speeds, position, velocity"):
            unseen(observation, (wrong,), "here")
    with pytest.raises(BadInput, match="has no names for the entries"):
        unseen(Observation(2), ("angle",), "here")
    assert note_of(Observation(40), range(1, 40)).startswith(
        "ignores observation entries 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12 and 27"
    )


def test_unknown_entries_are_refused_before_anything_runs(balancer) -> None:
    done: list[int] = []
    recipe = parse_recipe([{"pass": "prune", "sparsity": 0.5, "schedule": "one-shot"}, BLIND | {"observes": ["angel"]}])
    with pytest.raises(BadInput, match="'angel'"):
        compress(balancer, recipe, device="cpu", on_pass=lambda number, _: done.append(number))
    assert done == []
    for wrong in (True, 1.0, -1):
        with pytest.raises(BadInput, match="observes"):
            parse_recipe([BLIND | {"observes": [wrong]}])


def _silenced(layers: tuple, columns: dict[str, list[int]], size: int = 3) -> Policy:
    rng = np.random.default_rng(0)
    weights = {
        name: (rng.normal(size=shape) + 3).astype(dtype)
        for layer in layers
        for name, (shape, dtype) in tensor_shapes(layer).items()
    }
    for name, zeros in columns.items():
        weights[name][:, zeros] = 0
    return Policy("tiny", Contract(Observation(size), Action("continuous", 2)), layers, weights)


@pytest.mark.parametrize(
    ("layers", "columns", "expected"),
    [
        ((Linear("a", 3, 2),), {"a.weight": [1]}, {1}),
        ((Quantize(0.1, 0), Activation("tanh"), Linear("a", 3, 2)), {"a.weight": [0, 2]}, {0, 2}),
        ((History("past", 3, 2), Linear("a", 6, 2)), {"a.weight": [1, 4, 2]}, {1}),
        ((GRU("g", 3, 4), Linear("a", 4, 2)), {"g.weight_ih": [2]}, {2}),
        ((LSTM("g", 3, 4, rank_ih=2), Linear("a", 4, 2)), {"g.weight_ih_v": [0]}, {0}),
        ((CfC("c", 3, 4, backbone=(5,)), Linear("a", 4, 2)), {"c.backbone0_weight": [1, 5]}, {1}),
        ((CfC("c", 3, 4), Linear("a", 4, 2)), {"c.ff1_weight": [1]}, set()),
        ((LayerNorm("n", 3), Linear("a", 3, 2)), {"a.weight": [1]}, set()),
    ],
    ids=lambda value: "-".join(layer.kind for layer in value) if isinstance(value, tuple) else "",
)
def test_ignored_is_what_provably_does_nothing(layers, columns, expected) -> None:
    policy = _silenced(layers, columns)
    assert ignored(policy) == expected
    assert not heard(policy) & expected


def test_a_record_from_elsewhere_is_only_read(balancer) -> None:
    """What stands in a stranger's bundle neither executes nor breaks anything."""
    small = compress(balancer, parse_recipe([BLIND | {"hidden": [4]}]), device="cpu")
    provenance = small.contract.provenance
    for lie in ("abc", [7, -1, "x", None], {"a": 1}, 3):
        record = dataclasses.replace(provenance.passes[0], changed={"ignores": lie})
        contract = dataclasses.replace(small.contract, provenance=dataclasses.replace(provenance, passes=(record,)))
        liar = small.replace(contract=contract)
        assert promised(liar) <= {7}
        honest = {"pass": "prune", "sparsity": 0.2, "schedule": "one-shot"}
        assert compress(liar, parse_recipe([honest]), device="cpu").nonzero_parameters < small.nonzero_parameters
