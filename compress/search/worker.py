"""A process of a search: proposes, makes and tells, one candidate after another, until the budget is spent."""

from __future__ import annotations

import dataclasses
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from ...policy import Policy
from ...targets import Target
from .effort import Effort
from .halving import stops
from .limits import Limits
from .propose import Proposer
from .shelf import STUDENTS, Shelf
from .space import Space
from .study import ARMS, Study
from .task import Task
from .trial import Outcome, attempt

if TYPE_CHECKING:
    import optuna

CANDIDATES = "candidates"
"""Folder of the candidates' bundles, inside that of the search."""


@dataclass(frozen=True)
class Plan:
    """All that a process needs to take part, picklable."""

    folder: Path
    teacher: Path
    """A bundle."""
    target: Target
    env: str
    space: Space
    limits: Limits
    effort: Effort
    sampler: str
    floor: float
    seed: int
    stop_at: float
    """Unix time after which no candidate is begun."""
    trials: int | None
    """Finished candidates of both arms together, after which none is begun; None: no limit."""

    def study(self, number: int = 0) -> Study:
        """The study, as the process ``number`` draws from it: each, and each that goes on later, draws other genomes."""
        made = len(Study(self.folder).outcomes(ARMS[0]))
        return Study(self.folder, self.sampler, self.seed + 1000 * (number + 1) + made, self.floor)

    def task(self, teacher: Policy) -> Task:
        """What all candidates share."""
        return Task(teacher, self.target, self.env, self.limits, self.effort, self.seed)

    def shelf(self, arm: str) -> Shelf:
        """Where an arm's float students are kept."""
        return Shelf(self.folder / STUDENTS / arm)

    def goes_on(self, study: Study) -> bool:
        """Is another candidate to be begun?"""
        if time.time() >= self.stop_at:
            return False
        begun = sum(len(study.outcomes(arm)) + study.running(arm) for arm in ARMS)
        return self.trials is None or begun < self.trials

    def proposer(self, study: Study, arm: str, teacher: Policy) -> Proposer:
        """Of one arm."""
        return Proposer(study, arm, self.space, teacher, self.floor, self.limits)


def work(plan: Plan, number: int = 0, wanted: Callable[[], bool] = lambda: True) -> None:
    """Take part as process ``number`` until the budget is spent or nobody wants it any more."""
    from ...train.device import one_thread

    warnings.simplefilter("ignore")  # a simulator's notes about its own XML, once per candidate, help nobody here
    teacher = Policy.load(plan.teacher)
    study = plan.study(number)
    proposers = {arm: plan.proposer(study, arm, teacher) for arm in ARMS}
    task = plan.task(teacher)
    with one_thread():
        judge = task.judged()
        try:
            while wanted() and plan.goes_on(study):
                arm = poorer(study)
                trial, genome = proposers[arm].next()
                study.begin(trial)
                mine = dataclasses.replace(task, seed=plan.seed + trial.number)
                keep(plan, study, arm, trial, *attempt(genome, mine, judge, stops(study, arm), plan.shelf(arm)))
        finally:
            judge.close()


def poorer(study: Study) -> str:
    """The arm that has had less: seconds spent, then candidates in the making."""
    return min(ARMS, key=lambda arm: (study.spent(arm) + study.running(arm) * _typical(study), ARMS.index(arm)))


def _typical(study: Study) -> float:
    """Seconds that a candidate takes on average, whichever the arm."""
    seconds = [outcome.seconds for arm in ARMS for outcome in study.outcomes(arm)]
    return sum(seconds) / len(seconds) if seconds else 1.0


def keep(plan: Plan, study: Study, arm: str, trial: optuna.Trial, outcome: Outcome, policy: Policy | None) -> None:
    """Save what a candidate is, and tell the study."""
    if policy is not None:
        folder = plan.folder / CANDIDATES / f"{arm}-{trial.number}"
        policy.save(folder / f"{policy.name}.policy")
        outcome.policy = f"{folder.name}/{policy.name}.policy"
    study.tell(arm, trial, outcome)
