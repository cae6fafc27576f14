"""A part of a soak: what is kept of it, and how it is gathered."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from .streaming import Streaming


@dataclass(frozen=True)
class Stretch:
    """A part of a soak, in one line."""

    start_s: float
    """Seconds from the soak's beginning."""
    seconds: float
    """How long it lasted."""
    periods: int
    """Control periods in it."""
    p50_us: float | None
    """Median response; None where the sample does not support it, as below."""
    p99_us: float | None
    """99th percentile."""
    p999_us: float | None
    """99.9th percentile."""
    worst_us: float
    """The slowest one."""
    misses: int
    """Periods without their action in time."""
    longest_miss_run: int
    """Most of them in a row."""
    hottest_c: float | None
    """Temperature at its end."""
    mhz: float | None
    """Clock of the fastest cores at its end."""


class Part:
    """What a stretch has gathered so far."""

    def __init__(self, first: int, seen: Streaming, unfinished: int = 0) -> None:
        self.first, self.seen, self.unfinished = first, seen, unfinished
        self.periods = self.misses = self.longest = 0

    def add(self, response_ns: np.ndarray, missed: np.ndarray) -> None:
        """A block; a run of misses may go on from the block before, or the stretch before: ``unfinished`` of its periods."""
        self.seen.add(response_ns / 1e3)
        self.periods += len(missed)
        self.misses += int(missed.sum())
        edges = np.flatnonzero(np.diff(np.concatenate([[0], missed.astype(np.int8), [0]])))
        runs = edges[1::2] - edges[::2]
        if len(runs) and missed[0]:
            runs[0] += self.unfinished
        self.longest = max(self.longest, int(runs.max(initial=0)))
        self.unfinished = int(runs[-1]) if len(runs) and missed[-1] else 0


def told(stretch: Stretch) -> str:
    """One line for people."""
    at = time.strftime("%H:%M:%S", time.gmtime(stretch.start_s))
    shown = [f"{name} {value:,.1f} us" for name, value in (("p50", stretch.p50_us), ("p99", stretch.p99_us)) if value is not None]
    shown += [f"worst {stretch.worst_us:,.1f} us", f"misses {stretch.misses:,}"]
    if stretch.hottest_c is not None:
        shown.append(f"{stretch.hottest_c:.1f} C")
    if stretch.mhz is not None:
        shown.append(f"{stretch.mhz:,.0f} MHz")
    return f"{at}  " + "  ".join(shown)
