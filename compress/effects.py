"""What a policy costs and earns as it stands: return, bytes, and the latency and sizes of its artifact on chosen targets."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from ..errors import BadInput, GateFailed, MissingTool, Unreachable
from ..policy import Policy
from ..targets import Target
from .alone import alone
from .heal import mean_returns

if TYPE_CHECKING:
    from ..runtime.artifact import Artifact

SAMPLE_STEPS = 64
"""Decisions that are recorded for an artifact which is built only to be measured."""
HOST_CALLS = 5_000
"""Decisions timed on a real machine."""
UNHURRIED_HZ = 0.001
"""A control rate that every artifact keeps: what is measured here is not refused for being slow."""
COSTS = {
    "latency_us": ("tight_p50_us", "latency_us"),
    "cycles": ("cycles",),
    "flash_bytes": ("flash_bytes",),
    "ram_bytes": ("ram_bytes",),
}
"""What is kept -> the figures of a bench that say it."""


def measure(policy: Policy, env: str | None, targets: Sequence[Target], episodes: int, seed: int = 0) -> dict[str, Any]:
    """Return over ``episodes`` held-out episodes (0: none), weights, bytes, and under ``on`` what :func:`cost` says per target.

    The return is the float32 reference's, a working figure between passes; :mod:`pilotfish.compress.explain` and
    ``pilotfish evaluate`` fly the artifact itself.
    """
    found: dict[str, Any] = {
        "parameters": policy.parameters, "nonzero": policy.nonzero_parameters, "weight_bytes": policy.weight_bytes
    }  # fmt: skip
    if env is not None and episodes:
        found |= {"return": round(mean_returns([policy], env, episodes)[0], 3), "episodes": episodes}
    if targets:
        found["on"] = {target.name: cost(policy, target, env, seed) for target in targets}
    return found


REFUSALS = (GateFailed, MissingTool, Unreachable, BadInput)
"""Why there may be no figures for a target: nothing of it is a reason to lose what a recipe has made so far."""


def cost(policy: Policy, target: Target, env: str | None = None, seed: int = 0, backend: str | None = None) -> dict[str, Any]:
    """Build the artifact for ``target`` in a temporary folder and time it: what :func:`costs_of` says, and the back-end.

    ``backend``: default, the one that the target prefers. Where it cannot be built, or cannot run here, ``{"refused": reason}``.
    """
    from ..export.build import export_policy
    from ..policy.record import record_golden

    if policy.golden is None:
        policy = policy.replace(golden=record_golden(policy, env, steps=SAMPLE_STEPS, seed=seed))
    target = dataclasses.replace(target, uart=None)  # what is thrown away needs no second firmware for a serial port
    with tempfile.TemporaryDirectory() as folder:
        try:
            artifact = export_policy(policy, target, backend, folder, control_hz=UNHURRIED_HZ)
            return costs_of(artifact) | {"backend": artifact.manifest.backend}
        except REFUSALS as reason:
            return {"refused": str(reason)}


def costs_of(artifact: Artifact) -> dict[str, Any]:
    """Time an artifact, while nothing else is timed on its device: figures as JSON, by the names of :data:`COSTS`, and
    ``artifact_bytes``.
    """
    from ..runtime.bench import bench

    with alone(artifact.manifest.target):
        figures = bench(artifact, calls=HOST_CALLS, paced_seconds=0.0)["figures"]
    found = {key: figures[name] for key, names in COSTS.items() for name in names if name in figures}
    return found | {"artifact_bytes": figures["artifact_bytes"]}


class Watch:
    """Measures a policy between the passes of a recipe; does nothing where neither targets nor episodes are given."""

    def __init__(self, env: str | None, targets: Sequence[Target], episodes: int, seed: int, say: Callable[[str], None]) -> None:
        self.env, self.targets, self.episodes, self.seed, self.say = env, targets, episodes, seed, say
        self._before: dict[str, Any] = {}

    def look(self, policy: Policy) -> None:
        """What the next pass begins with."""
        if self.targets or self.episodes:
            self._before = measure(policy, self.env, self.targets, self.episodes, self.seed)
            self.say(f"{policy.name}: {told(self._before)}")

    def record(self, policy: Policy) -> Policy:
        """``policy`` as its last pass left it -> the same with ``measured`` {"before", "after"} in the record of that pass."""
        if not (self.targets or self.episodes):
            return policy
        before = self._before
        self.look(policy)
        provenance = policy.contract.provenance
        *earlier, last = provenance.passes
        last = dataclasses.replace(last, changed=last.changed | {"measured": {"before": before, "after": self._before}})
        return policy.replace(
            contract=dataclasses.replace(policy.contract, provenance=dataclasses.replace(provenance, passes=(*earlier, last)))
        )


def told(found: dict[str, Any]) -> str:
    """What :func:`measure` found, in one line."""
    words = [f"return {found['return']:,.1f} over {found['episodes']} episodes"] if "return" in found else []
    words.append(f"{found['nonzero']:,} weights that are not zero, {found['weight_bytes']:,} bytes")
    for name, costs in found.get("on", {}).items():
        if "refused" in costs:
            words.append(f"{name}: {costs['refused']}")
            continue
        figures = [costs[key] for key in ("latency_us", "flash_bytes") if key in costs] or [costs["artifact_bytes"]]
        words.append(
            f"{name}: " + ", ".join(f"{number(figure['value'])} {figure['unit']} {figure['source']}" for figure in figures)
        )
    return "; ".join(words)


def number(value: float) -> str:
    """Four digits, thousands with commas."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
