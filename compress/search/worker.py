"""A process of a search: proposes, makes and tells, one candidate after another, until the budget is spent."""

from __future__ import annotations

import dataclasses
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ...policy import Policy
from ...targets import Target
from .effort import Effort
from .limits import Limits
from .propose import Proposer, stops
from .space import Space
from .study import ARMS, Study
from .trial import Task, attempt

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
        """The study, as the process ``number`` draws from it."""
        return Study(self.folder, self.sampler, self.seed + 1000 * number, self.floor)

    def proposer(self, study: Study, arm: str, teacher: Policy) -> Proposer:
        """Of one arm."""
        return Proposer(study, arm, self.space, teacher, self.floor)


def work(plan: Plan, number: int = 0, done: Callable[[], None] = lambda: None) -> None:
    """Take part as process ``number`` until the budget is spent. ``done`` is called after every candidate."""
    from ...train.device import one_thread

    warnings.simplefilter("ignore")  # a simulator's notes about its own XML, once per candidate, help nobody here
    teacher = Policy.load(plan.teacher)
    study = plan.study(number + len(Study(plan.folder).outcomes(ARMS[0])))
    proposers = {arm: plan.proposer(study, arm, teacher) for arm in ARMS}
    task = Task(teacher, plan.target, plan.env, plan.limits, plan.effort, plan.seed)
    with one_thread():
        judge = task.judged()
        try:
            while time.time() < plan.stop_at and not _enough(study, plan.trials):
                arm = poorer(study)
                trial, genome = proposers[arm].next()
                folder = plan.folder / CANDIDATES / f"{arm}-{trial.number}"
                mine = dataclasses.replace(task, seed=plan.seed + trial.number)
                study.tell(arm, trial, attempt(genome, mine, judge, stops(study, arm), folder))
                done()
        finally:
            judge.close()


def poorer(study: Study) -> str:
    """The arm that has had less: seconds spent, then candidates in the making."""
    return min(ARMS, key=lambda arm: (study.spent(arm) + study.running(arm) * _typical(study), ARMS.index(arm)))


def _typical(study: Study) -> float:
    """Seconds that a candidate takes on average, whichever the arm."""
    seconds = [outcome.seconds for arm in ARMS for outcome in study.outcomes(arm)]
    return sum(seconds) / len(seconds) if seconds else 1.0


def _enough(study: Study, trials: int | None) -> bool:
    return trials is not None and sum(len(study.outcomes(arm)) + study.running(arm) for arm in ARMS) >= trials
