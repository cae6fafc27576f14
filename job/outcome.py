"""What a job made, and which of its gates failed: an artifact's own verdicts, and those that the report was asked to judge."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from .. import sealed
from ..policy.bundle import Policy
from ..runtime.artifact import Artifact


@dataclass
class JobResult:
    """What a job made, and which of its gates failed."""

    folder: Path
    report: Path
    original: Policy
    compressed: Policy | None
    artifacts: list[Artifact] = field(default_factory=list)
    failed_gates: list[str] = field(default_factory=list)
    """Also why an export of the job's last policy was refused."""
    refused: list[str] = field(default_factory=list)
    """Why an export of the original was refused, where a compressed policy takes its place."""
    unproven: list[str] = field(default_factory=list)
    """Artifacts that were built and cannot run on this machine, and why."""


def failed_gates(artifact: Artifact) -> list[str]:
    """One line for every stored verdict of the artifact that is bad: parity, return gate."""
    failed = []
    if (verify := artifact.result("verify")) and not verify["passed"]:
        failed.append(f"{artifact.label}: does not match its golden rollout (tolerance {verify['tolerance']:g})")
    if (evaluate := artifact.result("evaluate")) and not evaluate["passed"]:
        failed.append(f"{artifact.label}: keeps less of the return than the gate {evaluate['gate']:g} asks for")
    return failed


def report_gates(report: Path) -> list[str]:
    """One line for every gate of ``fail_on`` that failed, as the JSON beside the page ``report`` tells it."""
    told = sealed.read_json(report.with_suffix(".json"), "the JSON of a report")
    return [f"{one['gate']}: {one['message']}" for one in told["gates"] if one["state"] == "failed"]
