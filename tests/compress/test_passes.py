"""Laws of the framework: requirements are checked before, promises after, and the record says what was done."""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np
import pytest
from pydantic.dataclasses import dataclass

from pilotfish.compress import PASSES, BrokenPass, Context, apply, summary
from pilotfish.compress.passes import STRICT, Pass, PassResult, Promise, Requirement, named
from pilotfish.compress.prune import Prune
from pilotfish.compress.quantize_settings import Quantize
from pilotfish.errors import BadInput


@dataclass(frozen=True, config=STRICT)
class Nothing:
    """A pass of the tests."""

    kind: Literal["nothing"] = "nothing"
    """Its name."""


def doing(change, **more) -> Pass:
    return Pass("nothing", Nothing, lambda policy, _, __: PassResult(change(policy), {}), **more)


def test_a_promise_that_is_not_kept_stops_the_recipe(make):
    policy = make()
    promise = Promise("there are fewer parameters", lambda before, result, _: "" if result.policy is not before else "the same")
    with pytest.raises(BrokenPass, match="'nothing' on tiny: promised that there are fewer parameters, found the same"):
        apply(policy, doing(lambda p: p, ensures=(promise,)), Nothing(), Context(policy))


def test_no_pass_may_touch_the_interface(make):
    policy = make()

    def louder(p):
        action = dataclasses.replace(p.contract.action, scale=(2.0,) * 3)
        return p.replace(contract=dataclasses.replace(p.contract, action=action))

    with pytest.raises(BrokenPass, match="found another action in the contract"):
        apply(policy, doing(louder), Nothing(), Context(policy))


def test_no_pass_may_make_actions_that_are_not_finite(make):
    policy = make(activation="relu")

    def explode(p):
        return p.replace(weights={n: (t * np.float32(1e30)).astype(np.float32) for n, t in p.weights.items()})

    with np.errstate(all="ignore"), pytest.raises(BrokenPass, match="found an action that is not finite"):
        apply(policy, doing(explode), Nothing(), Context(policy))


def test_a_broken_shipped_pass_is_caught(make):
    policy, prune = make(), PASSES["prune"]

    def too_much(p, config, context):
        result = prune.run(p, config, context)
        return dataclasses.replace(
            result, policy=result.policy.replace(weights={n: t * np.float32(0) for n, t in result.policy.weights.items()})
        )

    with pytest.raises(BrokenPass, match="the sparsity is the one asked for"):
        apply(policy, dataclasses.replace(prune, run=too_much), Prune(0.5, schedule="one-shot"), Context(policy))


def test_requirements_are_checked_before_any_work(make):
    policy = make()

    def refuse(p, _, __):
        raise BadInput(p.name, expected="another policy", found="this one")

    def never(_):
        raise AssertionError("it ran")

    with pytest.raises(BadInput, match="expected another policy"):
        apply(policy, doing(never, requires=(Requirement("no", refuse),)), Nothing(), Context(policy))


def test_the_record_names_the_parent_once_and_every_pass(make):
    policy = make()
    context = Context(policy)
    pruned = apply(policy, PASSES["prune"], Prune(0.5, schedule="one-shot"), context)
    small = apply(pruned, PASSES["quantize"], Quantize(), context)
    provenance = small.contract.provenance
    assert provenance.parents == (policy.digest,)
    assert [record.name for record in provenance.passes] == ["prune", "quantize"]
    assert provenance.passes[0].settings["sparsity"] == 0.5
    assert provenance.passes[1].changed["weight_bytes"] == [pruned.weight_bytes, small.weight_bytes]
    assert small.name == "tiny-p50-int8"
    assert small.golden is None
    again = apply(small, PASSES["trim"], PASSES["trim"].config(), Context(small)) if small.precision == "fp32" else small
    assert again.contract.provenance.parents[0] == policy.digest
    line = summary(provenance.passes[1])
    assert line.startswith("quantize: ")
    assert f"{pruned.weight_bytes:,} -> {small.weight_bytes:,} bytes" in line


def test_a_child_of_a_child_lists_its_parents_oldest_first(make):
    policy = make()
    child = apply(policy, PASSES["prune"], Prune(0.3, schedule="one-shot"), Context(policy))
    grandchild = apply(child, PASSES["prune"], Prune(0.6, schedule="one-shot"), Context(child))
    assert grandchild.contract.provenance.parents == (policy.digest, child.digest)


def test_names_stay_safe_and_short():
    assert named("a", "p50") == "a-p50"
    assert named("a", "") == "a"
    assert named("x" * 200, "16x16") == "x" * 74 + "-16x16"
    assert "/" not in named("a", "../b")


@pytest.mark.parametrize("name", sorted(PASSES))
def test_the_table_is_consistent(name):
    step = PASSES[name]
    assert step.name == name
    assert step.config.__dataclass_fields__["kind"].default == name
    assert step.ensures
    assert all(condition.text for condition in (*step.requires, *step.ensures))
