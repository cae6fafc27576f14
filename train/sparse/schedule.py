"""How sparse a network is at each point of its training; imports no torch.

A shape maps the share u of the pruning phase that is over, in [0, 1], to the share of the final sparsity that is reached,
in [0, 1]; a :class:`Schedule` places it between two points of a training.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

ScheduleName = Literal["cubic", "linear", "harmonic"]
WAVES = 3
"""Harmonic: how often the sparsity falls back."""
SWING = 2.0
"""Harmonic: the wave's steepest slope, in slopes of the ramp; above 1 the sparsity falls at times."""


def cubic(u: float) -> float:
    """1 - (1 - u)^3: much early, when there is much to spare (Zhu and Gupta 2017, arXiv 1710.01878)."""
    return 1.0 - (1.0 - u) ** 3


def linear(u: float) -> float:
    """u."""
    return u


def harmonic(u: float) -> float:
    """A ramp with a sine of ``WAVES`` periods: u + SWING sin(2 pi WAVES u) / (2 pi WAVES); it falls at times.

    After "harmonic annealing pruning" (Stamatelis, Kanatas, Alexandropoulos 2025, arXiv 2503.15172), whose scheduler lets
    weights grow back periodically and is said to be as good as linear and polynomial ones, at large sparsities sometimes
    better. Its exact formula could not be looked up: this one is ours. It stays in [0, 1] and ends at 1 while rising.
    """
    if u >= 1.0:
        return 1.0
    turn = 2 * math.pi * WAVES
    return u + SWING * math.sin(turn * u) / turn


SHAPES: dict[str, Callable[[float], float]] = {"cubic": cubic, "linear": linear, "harmonic": harmonic}
"""Shapes by their names."""
FALLING = ("harmonic",)
"""Shapes that fall at times: what they let grow back is said, never silent."""


@dataclass(frozen=True)
class Schedule:
    """Sparsity over a training: ``initial`` until ``begin``, by its shape until ``end``, then ``final``."""

    final: float
    """Share of the weights that is zero at the end, in [0, 1]."""
    shape: ScheduleName = "cubic"
    """Name in :data:`SHAPES`."""
    begin: float = 0.2
    """Where it leaves ``initial``, as a fraction of training (0.2 and 0.8: Obando-Ceron et al. 2024, arXiv 2402.12479)."""
    end: float = 0.8
    """Where it reaches ``final``, as a fraction of training."""
    every: int = 1
    """Updates between two changes."""
    initial: float = 0.0
    """Share of the weights that is zero at the beginning."""

    def __post_init__(self) -> None:
        if not 0 <= self.begin < self.end <= 1:
            raise ValueError(f"a schedule needs 0 <= begin < end <= 1, not begin {self.begin:g} and end {self.end:g}")
        if not 0 <= self.initial <= self.final <= 1:
            raise ValueError(f"a schedule needs 0 <= initial <= final <= 1, not {self.initial:g} and {self.final:g}")
        if self.every < 1:
            raise ValueError(f"a schedule changes every 1 or more updates, not {self.every}")

    def at(self, progress: float) -> float:
        """The sparsity when ``progress`` (a fraction) of the training is over; exactly ``final`` from ``end`` on."""
        if progress >= self.end:
            return self.final
        u = max(0.0, (progress - self.begin) / (self.end - self.begin))
        return self.initial + (self.final - self.initial) * SHAPES[self.shape](u)

    def due(self, update: int, progress: float) -> bool:
        """Is the sparsity changed after the ``update``-th update (from 1)? Never before ``begin``."""
        return progress >= self.begin and update % self.every == 0
