"""How slowly a policy may decide: the lowest rate that still keeps the wanted return, in a sentence."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..figure import Figure, Source
from .frequency import STEPS
from .gate import compare, passes


@dataclass(frozen=True)
class Slowest:
    """What the returns at all decision frequencies say under a gate."""

    gate: float
    """Share of the reference's return that is wanted."""
    steps: int | None
    """Steps between two decisions, the most that keep it; None: none of those that were flown does."""
    hz: float | None
    """Decisions per second of that; None where the environment names no rate."""
    failing: tuple[int, ...]
    """Fewer steps that nevertheless do not keep it."""
    episodes: int
    """Behind each point."""
    sentence: str
    """The same for people; a predicate that follows the artifact's name."""

    def figure(self, source: Source, device: str) -> Figure:
        """slowest_hz; no value where there is none, or no rate to count in."""
        note = self.sentence if self.steps is None or self.hz is not None else f"{self.sentence}; the environment names no rate"
        return Figure(self.hz, "Hz", source, self.episodes, device=device, note=note)


def slowest(table: np.ndarray, reference: np.ndarray, gate: float, control_hz: float | None) -> Slowest:
    """Judge the returns [episodes, len(STEPS)] against the reference's [episodes] on the same seeds, rate by rate.

    The gate decides as in :func:`pilotfish.runtime.gate.passes`; a policy that was trained for one rate may fail at a faster one,
    which is said.
    """
    kept = [passes(compare(table[:, column], reference), gate) for column in range(len(STEPS))]
    episodes = len(table)

    def rate(steps: int) -> str:
        return f"{control_hz / steps:.3g} Hz" if control_hz else f"a decision every {steps} steps"

    if not any(kept):
        text = f"keeps {gate:.0%} of the return at none of the rates from {rate(STEPS[0])} to {rate(STEPS[-1])}"
        return Slowest(gate, None, None, tuple(STEPS), episodes, text)
    last = max(index for index, good in enumerate(kept) if good)
    steps = STEPS[last]
    failing = tuple(STEPS[index] for index in range(last) if not kept[index])
    text = f"keeps {gate:.0%} of the return down to {rate(steps)}"
    if last + 1 == len(STEPS):
        text += ", the slowest rate that was flown"
    if failing:
        text += f", but not at {', '.join(rate(each) for each in failing)}"
    return Slowest(gate, steps, control_hz / steps if control_hz else None, failing, episodes, text)
