"""What a search found: the proven fronts of both arms, how they got there, and how far the predictors can be trusted."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from ...policy import Policy
from ..effects import cost
from .front import front, hypervolume
from .prove import Proof
from .study import ARMS, Study
from .worker import CANDIDATES, Plan

MOST_TOLD = 5
"""Failures of an arm that are told."""


@dataclass
class Found:
    """What a search found."""

    teacher: str
    target: str
    env: str
    min_return: float
    limits: dict[str, Any]
    teacher_costs: dict[str, Any]
    """Figures of the teacher's own artifact on the target, or why there is none."""
    proofs: list[Proof]
    """The fronts of both arms, proven, by cost."""
    pareto: list[int]
    """Indices of the proofs that no other dominates."""
    best: int | None
    """Index of the cheapest that keeps ``min_return`` of the teacher's return; None: none does."""
    arms: dict[str, dict[str, Any]]
    """Per arm: counts by state, seconds, hypervolume, trace [[seconds, candidates, hypervolume], …], causes."""
    predictors: dict[str, dict[str, Any] | None]
    """kept, cost, flash, RAM: how far the search's predictors can be trusted; None: too few candidates."""
    floor: float
    ceiling: float
    """Of the hypervolume: share of the return, microseconds."""
    notes: list[str] = field(default_factory=list)

    def data(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)

    def bundle(self, index: int) -> str:
        """The policy of a proof, inside the folder of the search."""
        return f"{CANDIDATES}/{self.proofs[index].outcome.policy}"

    def told(self) -> list[str]:
        """What there is to say besides the table."""
        lines = []
        for name, trust in self.predictors.items():
            if trust is not None:
                order = "" if trust["spearman"] is None else f", rank correlation {trust['spearman']:.2f}"
                lines.append(
                    f"predictor of {name}: error {trust['mae']:.3g} on candidates that it had not seen, "
                    f"{trust['mean_mae']:.3g} by the mean{order}, {trust['samples']} candidates"
                )
        for arm, data in self.arms.items():
            failures = data["failures"]
            lines += [f"failed in {arm}: {cause}" for cause in failures[:MOST_TOLD]]
            if len(failures) > MOST_TOLD:
                lines.append(f"and {len(failures) - MOST_TOLD:,} more that failed in {arm}: result.json has their causes")
        return [*lines, *self.notes]


def summarized(plan: Plan, study: Study, teacher: Policy, min_return: float, proofs: list[Proof]) -> Found:
    teacher_costs = cost(teacher, plan.target, plan.env, plan.seed)
    own = teacher_costs.get("latency_us")
    seen = [one.cost for arm in ARMS for one in study.outcomes(arm) if one.cost is not None]
    ceiling = float(own["value"]) if own else max(seen, default=1.0)
    good = [index for index, proof in enumerate(proofs) if proof.verified and proof.kept is not None and proof.cost is not None]
    best = [good[index] for index in front([(proofs[i].kept or 0.0, proofs[i].cost or 0.0) for i in good])]
    keeping = [index for index in best if (proofs[index].kept or 0.0) >= min_return]
    proposer = plan.proposer(study, ARMS[0], teacher)
    proposer.learn(everything=True)
    notes = [] if keeping else [f"nothing that was found keeps {min_return:.0%} of the return: give it a larger budget or space"]
    for name, predictor in proposer.predictors.items():
        if predictor.trust is not None and not predictor.trust.used:
            notes.append(f"the predictor of {name} is no better than the mean and is not used")
    return Found(
        teacher.name, plan.target.name, plan.env, min_return, asdict(plan.limits), teacher_costs, proofs, best,
        min(keeping, key=lambda index: proofs[index].cost or 0.0, default=None),
        {arm: arm_summary(study, arm, plan.floor, ceiling) for arm in ARMS},
        {
            name: None if predictor.trust is None else asdict(predictor.trust) | {"used": predictor.trust.used}
            for name, predictor in proposer.predictors.items()
        },
        plan.floor, ceiling, notes,
    )  # fmt: skip


def arm_summary(study: Study, arm: str, floor: float, ceiling: float) -> dict[str, Any]:
    """Counts, seconds, causes, and the hypervolume after each candidate."""
    outcomes, seconds = study.outcomes(arm), 0.0
    points, trace = [], []
    counts = dict.fromkeys(("done", "stopped", "infeasible", "failed"), 0)
    for number, one in enumerate(outcomes, 1):
        counts[one.state] += 1
        seconds += one.seconds
        if one.state == "done" and one.kept is not None and one.cost is not None:
            points.append((one.kept, one.cost))
        trace.append([round(seconds, 2), number, hypervolume(points, floor, ceiling)])
    causes = [f"{one.genome.name}: {one.cause}" for one in outcomes if one.state == "failed"]
    return counts | {
        "seconds": seconds, "hypervolume": trace[-1][2] if trace else 0.0, "trace": trace, "failures": causes, "points": points
    }  # fmt: skip
