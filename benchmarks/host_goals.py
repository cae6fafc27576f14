"""The goals of the C back-end on an x86-64 host, each judged from one run: met, short, or not measured."""

from __future__ import annotations

from dataclasses import dataclass

from host_results import ORT, OURS, Results

LITERT = "LiteRT"
HAND = "hand-written C"


@dataclass(frozen=True)
class Goal:
    """``label`` on ``subject`` must be at least ``factor`` times as fast as ``other`` on ``other_subject``."""

    subject: str
    label: str
    other: str
    factor: float
    other_subject: str = ""
    """Empty: the same."""


PYTHON, C = OURS["Python"], OURS["C"]
GOALS = (
    *(Goal(s, PYTHON, ORT, f) for s, f in (("A", 25), ("B", 3.5), ("C", 2.3), ("D", 10), ("F", 50))),
    *(Goal(s, PYTHON, LITERT, f) for s, f in (("A", 6), ("B", 1.6), ("C", 1.4), ("D", 3))),
    Goal("F", PYTHON, PYTHON, 1, "A"),
    *(Goal(s, C, HAND, 1 / 1.15) for s in "ABCDF"),
    Goal("EB", C, C, 1, "B"),
)
"""x86-64 figures of the plan for this back-end; a pruned policy must pay from 256 units on."""


@dataclass(frozen=True)
class Verdict:
    """A goal held against a run."""

    goal: Goal
    speedup: float | None
    """Net of the clocks, median over rounds; None: not measured."""
    raw: float | None
    """The same as measured, clocks included."""

    @property
    def word(self) -> str:
        if self.speedup is None:
            return "not measured"
        return "met" if self.speedup >= self.goal.factor else "short"

    @property
    def text(self) -> str:
        """In one line."""
        goal = self.goal
        against = f"{goal.other}{f' on {goal.other_subject}' if goal.other_subject else ''}"
        wanted = f"{goal.subject}: {goal.label} ≥ {goal.factor:.3g} × {against}"
        if self.speedup is None:
            return f"{self.word:12}  {wanted}"
        return f"{self.word:12}  {wanted}: {self.speedup:.2f} × ({self.raw:.2f} × with the clocks)"


def verdicts(results: Results) -> list[Verdict]:
    """Every goal, in order."""
    judged = []
    for goal in GOALS:
        line = results.line(goal.subject, goal.label)
        other = results.line(goal.other_subject or goal.subject, goal.other)
        if line is None or other is None:
            judged.append(Verdict(goal, None, None))
            continue
        net, raw = (_median(results.ratios(other, line, net)) for net in (True, False))
        judged.append(Verdict(goal, net, raw))
    return judged


def _median(values: list[float]) -> float:
    ordered = sorted(values)
    middle = len(ordered) // 2
    return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2
