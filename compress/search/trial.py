"""One candidate: what it costs before it is trained, lessons as long as there is hope, the artifact and its return."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...policy import Policy
from ..activations import network_outputs
from ..effects import cost
from ..passes import Context
from ..recipe import GOLDEN_SEED, GOLDEN_STEPS
from .genome import Genome
from .judge import Judge, descended, kept
from .shelf import Shelf, Taught
from .sketch import linear, sketch, through
from .space import ends_of
from .task import Task


@dataclass
class Outcome:
    """What became of a candidate."""

    genome: Genome
    state: str = "done"
    """done; infeasible: beyond a limit or not to be built; stopped: hopeless after a lesson; failed: an error."""
    cause: str = ""
    """Why it is not done."""
    kept: float | None = None
    """Share of the teacher's return."""
    returns: list[float] = field(default_factory=list)
    rungs: list[float] = field(default_factory=list)
    """What was kept after each lesson of the float student, and by what it had become, as far as the first few episodes tell."""
    costs: dict[str, Any] = field(default_factory=dict)
    """Figures of the artifact as JSON: of the sketch, until the candidate itself is built."""
    excess: list[float] = field(default_factory=list)
    """By how much each limit is exceeded."""
    parameters: int = 0
    nonzero: int = 0
    weight_bytes: int = 0
    reused: bool = False
    """Was its float student taught for another candidate?"""
    seconds: float = 0.0
    policy: str = ""
    """Its bundle, inside the folder of all candidates."""

    @property
    def cost(self) -> float | None:
        """What the front is drawn over: microseconds of one decision."""
        figure = self.costs.get("latency_us")
        return None if figure is None else float(figure["value"])

    def data(self) -> dict[str, Any]:
        """As JSON values."""
        return dataclasses.asdict(self)


Stops = Callable[[int, float, float], str]
"""(rung, kept, cost) -> why a candidate goes no further; empty: it goes on."""


def attempt(genome: Genome, task: Task, judge: Judge, stops: Stops, shelf: Shelf | None = None) -> tuple[Outcome, Policy | None]:
    """Make ``genome`` as far as it is worth -> what became of it, and its policy where it is done. Raises nothing but Ctrl-C.

    ``shelf``: where float students of the same shape are taken from and kept; None: each is taught anew.
    """
    began, outcome, policy = time.perf_counter(), Outcome(genome), None
    try:
        policy = _make(outcome, task, judge, stops, shelf or Shelf())
    except Exception as error:  # noqa: BLE001  (whatever breaks one candidate is no reason to lose the others)
        outcome.state, outcome.cause = "failed", f"{type(error).__name__}: {error}"
    outcome.seconds = time.perf_counter() - began
    return outcome, policy


def _make(outcome: Outcome, task: Task, judge: Judge, stops: Stops, shelf: Shelf) -> Policy | None:
    genome, original = outcome.genome, task.teacher
    every = genome.decide_every
    task = dataclasses.replace(task, teacher=judge.teacher(every), limits=task.limits.for_every(every))
    drawn = sketch(genome, task)
    if not (_hears(outcome, drawn, "infeasible") and _affordable(outcome, drawn, task)):
        return None
    judge.school(every).welcome(task.seed)
    context = Context(task.teacher, task.env, task.seed, task.device, school=judge.school(every))
    taught = _taught(outcome, context, task, judge, stops, shelf)
    if taught is None:
        return None
    policy, glanced = taught.policy, taught.glanced
    if finish := genome.finish(task.effort, linear(policy), ends_of(task.teacher)):
        *passes, last = finish
        policy = through(policy, passes, context)
        if not _hears(outcome, policy, "stopped"):
            return None
        policy = through(policy, [last], context)
        share, glanced = judge.glance(policy)
        outcome.rungs.append(share)
    else:
        outcome.rungs.append(outcome.rungs[-1])
    if _stopped(outcome, stops):
        return None
    comparison, returns = judge.compare(policy, glanced)
    outcome.kept, outcome.returns = kept(comparison), [round(float(value), 3) for value in returns]
    outcome.parameters, outcome.nonzero, outcome.weight_bytes = policy.parameters, policy.nonzero_parameters, policy.weight_bytes
    policy = descended(policy, task.teacher, original, every)
    if not _affordable(outcome, policy, task):
        return None
    from ...policy.record import record_golden

    return policy.replace(golden=record_golden(policy, task.env, GOLDEN_STEPS, GOLDEN_SEED))


def _taught(outcome: Outcome, context: Context, task: Task, judge: Judge, stops: Stops, shelf: Shelf) -> Taught | None:
    """The float student of the genome's shape, from the shelf or from its lessons; None: there is no hope."""
    genome = outcome.genome
    had, found = shelf.before(genome)
    if found is not None:
        outcome.rungs, outcome.reused = list(found.rungs), had == genome.studies
        if _stopped(outcome, stops, 0) or (outcome.reused and _stopped(outcome, stops)):
            return None
        if not outcome.reused or genome.finish(task.effort, linear(found.policy), ends_of(task.teacher)):
            judge.school(genome.decide_every).watch(found.policy, task.effort.shown)
    else:
        policy = through(task.teacher, genome.distill(task.effort), context)
        share, glanced = judge.glance(policy)
        outcome.rungs.append(share)
        if _stopped(outcome, stops):
            return None
        found = Taught(policy, (share,), glanced)
    for studies in range(had + 1, genome.studies + 1):
        policy = through(found.policy, [{"pass": "heal", **task.effort.study()}], context)
        share, glanced = judge.glance(policy)
        if studies == 1 or share > outcome.rungs[1]:  # one more lesson may as well spoil what the one before was good for
            outcome.rungs[1:] = [share]
            found = Taught(policy, tuple(outcome.rungs), glanced)
        # One that is given up is kept, too: it may get another lesson.
        shelf.put(dataclasses.replace(genome, studies=studies), found)
    return None if _stopped(outcome, stops, 1) else found


def _stopped(outcome: Outcome, stops: Stops, rung: int = -1) -> bool:
    """Is there no hope left after this lesson (-1: the last one)?"""
    rung %= len(outcome.rungs)
    if outcome.cost is not None and (why := stops(rung, outcome.rungs[rung], outcome.cost)):
        outcome.state, outcome.cause = "stopped", why
    return outcome.state == "stopped"


def _hears(outcome: Outcome, policy: Policy, otherwise: str) -> bool:
    """Does anything that ``policy`` sees change what it does?"""
    given = network_outputs(policy)
    if np.ptp(given, axis=0).any():
        return True
    outcome.state, outcome.cause = otherwise, "its zeros leave no way from an observation to an action"
    if otherwise == "infeasible":
        outcome.excess = [1.0]
    return False


def _affordable(outcome: Outcome, policy: Policy, task: Task) -> bool:
    """Build and time ``policy``; False where it is beyond a limit."""
    found = cost(policy, task.target, task.env, task.seed, outcome.genome.backend)
    if "refused" in found:
        outcome.state, outcome.cause, outcome.excess = "infeasible", found["refused"], [1.0]
        return False
    outcome.costs, outcome.excess = found, task.limits.excess(found)
    if told := task.limits.told(found):
        outcome.state, outcome.cause = "infeasible", told
    return not told
