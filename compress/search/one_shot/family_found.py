"""What a one-shot search found: the family as far as it was flown, its proven front, and what its order is worth."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from ..prove import Proven
from .alone import Agreement
from .survey import Surveyed


@dataclass
class Point(Proven):
    """One architecture of the front, proven; the reference is the leader."""

    surveyed: Surveyed
    policy: str
    """Its bundle, inside the folder of the search."""
    healing: dict[str, Any] = field(default_factory=dict)
    """return [before, after] of the lessons from the leader, episodes, and which of both was kept; empty: it had none."""


@dataclass
class FamilyFound:
    """What a one-shot search found."""

    env: str
    target: str
    steps: int
    """Environment steps of the one training."""
    seconds: float
    """That it took, over all calls."""
    size: int
    """Architectures of the family."""
    surveyed: list[Surveyed]
    """Those that were flown, by weights."""
    leader: dict[str, Any]
    """weights, and mean return in the episodes that choose, of the policy that the training keeps."""
    limits: dict[str, Any]
    min_return: float
    points: list[Point]
    """The front, proven, by cost."""
    pareto: list[int]
    best: int | None
    """Index of the cheapest point that keeps ``min_return`` of the leader's return; None: none does."""
    agreement: Agreement | None
    """With the same architectures trained alone; None: not asked for."""
    notes: list[str] = field(default_factory=list)

    def data(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    def told(self) -> list[str]:
        """What there is to say besides the table."""
        lines = [f"{len(self.surveyed)} of {self.size:,} architectures from one training of {self.steps:,} steps"]
        check = self.agreement
        if check is None:
            lines.append("not checked against architectures trained alone (--check 16): trust the proven points, not the order")
        elif check.spearman is None:
            lines.append(f"{len(check.trained)} architectures trained alone: too few or too alike for a rank correlation")
        else:
            lines.append(
                f"rank correlation with {len(check.trained)} architectures trained alone: {check.spearman:.2f} "
                f"({check.low:.2f} to {check.high:.2f})"
                + ("" if check.among_seeds is None else f"; of one seed's with the others' {check.among_seeds:.2f}")
            )
        if check is not None and check.small_share is not None:
            lines.append(f"small ones gain {check.small_share:.0%} of what they gain trained alone with as many steps (median)")
        if lessons := [point.healing for point in self.points if point.healing]:
            better = sum(one["kept"] == "after" for one in lessons)
            lines.append(f"lessons from the leader raised the return of {better} of {len(lessons)} points")
        return [*lines, *self.notes]
