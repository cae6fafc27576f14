"""The framework of passes: each states what it requires and what it ensures, and both are checked here.

A pass is a frozen config that says *what*, a function that says *how*, requirements and promises. It takes a
policy and returns another one plus what it changed, in numbers. A requirement that does not hold is the user's
mistake (BadInput, before any work); a promise that does not hold is the pass's own (BrokenPass), and the
earlier policy is never lost, because policies are immutable.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
from pydantic import ConfigDict, TypeAdapter

from ..errors import PilotfishError
from ..policy import Policy
from ..policy.contract import PassRecord
from ..policy.reference import Reference
from .activations import probes
from .observes import ignored, promised

if TYPE_CHECKING:
    from ..train.school import School

STRICT = ConfigDict(extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)
"""What every pass config is made with."""
C = TypeVar("C")
PROBES = 16
"""Observations on which every result must act before it is accepted."""
MAX_NAME = 80
"""Longest policy name that passes make; a longer one keeps its beginning."""


class BrokenPass(PilotfishError):
    """A pass does not keep its promise: a bug in the pass, not in the input."""

    exit_code = 1


@dataclass(frozen=True)
class Context:
    """What a pass may use besides the policy it is given."""

    teacher: Policy
    """The policy that the recipe was given: what healing imitates and calibration replays."""
    env: str | None = None
    """Gymnasium id that the policy acts in; None where there is none here."""
    seed: int = 0
    """Seeds every random choice of a pass."""
    device: str = "auto"
    """Where distillation runs: auto, cpu or cuda."""
    progress: bool = False
    """True: whatever takes long shows a progress bar."""
    school: School | None = None
    """Simulators and demonstrations that several recipes for one teacher share; None: every lesson makes its own."""


@dataclass(frozen=True)
class PassResult:
    """What the function of a pass returns."""

    policy: Policy
    """The new policy; name, provenance and golden rollout are the framework's business."""
    changed: dict[str, Any]
    """What changed, in JSON values: sparsity, ranks, skipped layers …"""
    suffix: str = ""
    """What the pass adds to the name, such as "int8"; empty: nothing."""


@dataclass(frozen=True)
class Requirement(Generic[C]):
    """Something that must hold before the pass."""

    text: str
    """In words, for the documentation of the pass."""
    check: Callable[[Policy, C, Context], None]
    """Raises BadInput, with the repair, where it does not hold."""
    early: bool = False
    """True: depends on the context alone, so a recipe checks it before its first pass costs time."""


@dataclass(frozen=True)
class Promise(Generic[C]):
    """Something that holds after the pass."""

    text: str
    """In words."""
    broken: Callable[[Policy, PassResult, C], str]
    """(policy before, result, config) -> what was found instead; empty where the promise is kept."""


@dataclass(frozen=True)
class Pass(Generic[C]):
    """One line of the table of passes."""

    name: str
    """What a recipe calls it."""
    config: type[C]
    """Frozen dataclass of its settings; its field ``kind`` is the name."""
    run: Callable[[Policy, C, Context], PassResult]
    """How."""
    requires: tuple[Requirement[C], ...] = ()
    """Checked before, in order."""
    ensures: tuple[Promise[C], ...] = ()
    """Checked after, in order, behind the promises that every pass makes."""


def _interface_broken(before: Policy, result: PassResult, _: Any) -> str:
    old, new = before.contract, result.policy.contract
    bare = old.observation.normalizer is None
    seen = dataclasses.replace(new.observation, normalizer=None) if bare else new.observation
    for part, one, other in (
        ("observation", old.observation, seen),
        ("action", old.action, new.action),
        ("timing", old.timing, new.timing),
    ):
        if one != other:
            return f"another {part} in the contract"
    return ""


def _silent(before: Policy, result: PassResult, _: Any) -> str:
    actor = Reference(result.policy)
    for obs in probes(before, PROBES).obs:
        if not np.isfinite(actor.act(obs)).all():
            return "an action that is not finite"
    return ""


def _peeking(before: Policy, result: PassResult, _: Any) -> str:
    heard = (promised(before) & ignored(before)) - ignored(result.policy)
    return f"weights on entries {sorted(heard)[:8]}" if heard else ""


COMMON: tuple[Promise[Any], ...] = (
    Promise(
        "the observation, the action and the timing of the contract stay as they are; where there was no normalizer of the "
        "observation, one may be put in front of the network",
        _interface_broken,
    ),
    Promise("every action is finite", _silent),
    Promise("observation entries that an earlier pass took from the policy's sight stay out of it", _peeking),
)
"""What every pass promises."""


def settings_of(config: Any) -> dict[str, Any]:
    """The settings of a pass config as JSON values, without its kind."""
    settings: dict[str, Any] = TypeAdapter(type(config)).dump_python(config, mode="json")
    settings.pop("kind", None)
    return settings


def apply(policy: Policy, step: Pass[C], config: C, context: Context) -> Policy:
    """Run one pass: check requirements, run, check promises, write the record into the provenance.

    The result has no golden rollout (the old one recorded another policy); :func:`pilotfish.compress.compress`
    records a new one when the recipe is through. Raises BadInput, BrokenPass and what the pass itself raises.
    """
    for requirement in step.requires:
        requirement.check(policy, config, context)
    result = step.run(policy, config, context)
    for promise in (*COMMON, *step.ensures):
        if found := promise.broken(policy, result, config):
            raise BrokenPass(f"pass {step.name!r} on {policy.name}: promised that {promise.text}, found {found}")
    sizes = {
        "parameters": [policy.parameters, result.policy.parameters],
        "nonzero": [policy.nonzero_parameters, result.policy.nonzero_parameters],
        "weight_bytes": [policy.weight_bytes, result.policy.weight_bytes],
    }
    old = result.policy.contract.provenance
    parent = context.teacher.digest
    provenance = dataclasses.replace(
        old,
        parents=old.parents if parent in old.parents else (*old.parents, parent),
        passes=(*old.passes, PassRecord(step.name, settings_of(config), sizes | result.changed)),
    )
    return result.policy.replace(
        name=named(policy.name, result.suffix),
        contract=dataclasses.replace(result.policy.contract, provenance=provenance),
        golden=None,
    )


def named(name: str, suffix: str) -> str:
    """NAME-SUFFIX, file-name-safe and of bounded length."""
    if not suffix:
        return name
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", suffix)
    return f"{name[: MAX_NAME - len(safe) - 1]}-{safe}"


def summary(record: PassRecord) -> str:
    """One pass in one line for a person: what it is and parameters, non-zero ones and bytes before and after."""

    def pair(key: str) -> str:
        before, after = record.changed[key]
        return f"{before:,}" if before == after else f"{before:,} -> {after:,}"

    line = f"{record.name}: {pair('parameters')} parameters, {pair('nonzero')} not zero, {pair('weight_bytes')} bytes"
    healed = record.changed.get("return")
    return line if healed is None else f"{line}, return {healed[0]:,.1f} -> {healed[1]:,.1f}"
