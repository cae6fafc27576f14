"""The front, proven: every point built for the target, verified there, timed alone, and flown on episodes that chose nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import PilotfishError
from ...policy import Policy
from ...runtime.gate import compare
from ...targets import Target
from ..effects import UNHURRIED_HZ, costs_of
from .front import front
from .judge import kept
from .study import ARMS, Study
from .trial import Outcome
from .worker import CANDIDATES, Plan

FLIGHT_SEED = 50_000
"""Seeds of the episodes that prove: no lesson and no choice has seen them."""
MOST = 12
"""Points of one arm that are proven, those that keep most first."""
LAYERS = 2
"""Fronts of one arm that are proven, the second without the first: few episodes have chosen between them, in part by luck."""
FRONT = "front"
"""Folder of the artifacts, inside that of the search."""


@dataclass(kw_only=True)
class Proven:
    """What the proof of one policy on its target says."""

    figures: dict[str, Any] = field(default_factory=dict)
    """return, retained, difference, latency_us, cycles, flash_bytes, ram_bytes, artifact_bytes, as JSON."""
    kept: float | None = None
    """Share of the reference's return in the proving episodes."""
    verified: bool = False
    """Does the artifact act like its policy, on the target?"""
    failed: str = ""
    """Why there are no figures."""
    artifact: str = ""
    """Its folder."""

    @property
    def cost(self) -> float | None:
        """Microseconds of one decision."""
        figure = self.figures.get("latency_us")
        return None if figure is None else float(figure["value"])


@dataclass
class Proof(Proven):
    """One point of the front."""

    arm: str
    outcome: Outcome

    def data(self) -> dict[str, Any]:
        """As JSON values."""
        return dataclasses.asdict(self)


def candidates(study: Study, floor: float) -> list[tuple[str, Outcome]]:
    """(arm, outcome) of what stands on the first fronts of either arm and keeps more than ``floor`` of the return; by cost."""
    chosen = []
    for arm in ARMS:
        done = [one for one in study.outcomes(arm) if one.state == "done" and (one.kept or 0.0) > floor and one.cost is not None]
        best: list[Outcome] = []
        for _ in range(LAYERS):
            left = [one for one in done if one not in best]
            best += [left[index] for index in front([(one.kept or 0.0, one.cost or 0.0) for one in left])]
        chosen += [(arm, one) for one in sorted(best, key=lambda one: one.kept or 0.0)[-MOST:]]
    return sorted(chosen, key=lambda one: one[1].cost or 0.0)


def prove(
    plan: Plan, chosen: list[tuple[str, Outcome]], episodes: int, say: Callable[[str], None] = lambda _: None
) -> list[Proof]:
    """Prove every one; one that fails says why."""
    teacher = Policy.load(plan.teacher)
    proofs = []
    for number, (arm, outcome) in enumerate(chosen, 1):
        say(f"proving {number} of {len(chosen)}: {outcome.genome.name}")
        proofs.append(_proof(plan, teacher, arm, outcome, episodes))
    return proofs


def _proof(plan: Plan, teacher: Policy, arm: str, outcome: Outcome, episodes: int) -> Proof:
    proof = Proof(arm, outcome)
    try:
        policy = Policy.load(plan.folder / CANDIDATES / outcome.policy)
        # A folder each: two candidates of one shape bear the same name.
        folder = plan.folder / FRONT / Path(outcome.policy).parent
        proof.artifact, proof.verified, proof.figures, proof.kept = flown(
            policy, plan.target, outcome.genome.backend, folder, plan.env, teacher, episodes
        )
    except PilotfishError as error:
        proof.failed = f"{type(error).__name__}: {error}"
    return proof


def flown(
    policy: Policy, target: Target, backend: str | None, folder: Path, env: str, reference: Policy, episodes: int
) -> tuple[str, bool, dict[str, Any], float]:
    """Build ``policy`` into ``folder``, verify it, time it, fly it and ``reference`` in the episodes that prove ->
    (the artifact's folder, does it act like its policy, figures as JSON, share of the reference's return)."""
    from ...export.build import export_policy
    from ...runtime.evaluate import evaluate
    from ...runtime.verify import verify

    artifact = export_policy(policy, target, backend, folder, control_hz=UNHURRIED_HZ)
    verified = bool(verify(artifact)["passed"])
    figures: dict[str, Any] = costs_of(artifact)
    result = evaluate(artifact, env=env, episodes=episodes, seed=FLIGHT_SEED, reference=reference)
    figures |= {name: result["figures"][name] for name in ("return", "retained", "difference", "reference_return")}
    share = kept(compare(np.array(result["returns"]), np.array(result["reference_returns"])))
    return str(artifact.path), verified, figures, share
