"""A histogram that takes any number of latencies in the same few kilobytes, and answers percentiles within 1 %.

Bins rise by 1 % each, as in Tene's HdrHistogram (relative resolution, fixed memory); the slowest and the fastest value are kept
as they are. What is answered is the upper edge of a bin: never less than the order statistic, and at most 1 % more.
"""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np

from ...figure import Figure
from .percentiles import CONFIDENCE, MAX_BINS, interval_ranks, samples_needed

RATIO = 1.01
LEAST_US, MOST_US = 1e-2, 1e9
"""What is faster or slower is counted in the first or last bin."""
BINS = math.ceil(math.log(MOST_US / LEAST_US) / math.log(RATIO))


class Streaming:
    """Counts per bin of latencies in microseconds."""

    def __init__(self) -> None:
        self.counts = np.zeros(BINS, np.int64)
        self.fastest_us, self.slowest_us = math.inf, 0.0

    @property
    def total(self) -> int:
        """How many latencies it holds."""
        return int(self.counts.sum())

    def add(self, values_us: np.ndarray) -> None:
        """Take latencies [n]."""
        if not len(values_us):
            return
        clipped = np.clip(values_us, LEAST_US, MOST_US)
        places = np.minimum((np.log(clipped / LEAST_US) / math.log(RATIO)).astype(np.int64), BINS - 1)
        self.counts += np.bincount(places, minlength=BINS)
        self.fastest_us = min(self.fastest_us, float(values_us.min()))
        self.slowest_us = max(self.slowest_us, float(values_us.max()))

    def merge(self, other: Streaming) -> None:
        """Take all that another one holds."""
        self.counts += other.counts
        self.fastest_us = min(self.fastest_us, other.fastest_us)
        self.slowest_us = max(self.slowest_us, other.slowest_us)

    def at_rank(self, rank: int) -> float:
        """The latency of that rank, 1 = fastest, at most 1 % too high."""
        place = int(np.searchsorted(np.cumsum(self.counts), rank))
        return min(LEAST_US * RATIO ** (place + 1), self.slowest_us)

    def percentile(self, q: float) -> float | None:
        """None where the sample does not support it."""
        n = self.total
        return self.at_rank(max(1, math.ceil(q * n - 1e-9))) if interval_ranks(n, q) else None

    def figures(self, prefix: str, device: str, note: str) -> dict[str, Figure]:
        """PREFIX_p50_us, _p99_us, _p999_us and _worst_us, by the rule of :mod:`pilotfish.runtime.measure.percentiles`."""
        n, found = self.total, {}
        for name, q in (("p50", 0.5), ("p99", 0.99), ("p999", 0.999)):
            ranks = interval_ranks(n, q)
            if ranks is None:
                reason = f"{n:,} samples do not support p{q * 100:g}: its {CONFIDENCE:.0%} interval needs {samples_needed(q):,}"
                found[f"{prefix}_{name}_us"] = Figure(None, "us", "measured", samples=n, device=device, note=reason)
                continue
            low, high = (self.at_rank(rank) for rank in ranks)
            spread = f"{CONFIDENCE:.0%} order-statistic interval"
            found[f"{prefix}_{name}_us"] = Figure(
                self.percentile(q), "us", "measured", n, low, high, spread, device, f"{note}; from bins of 1 %"
            )
        worst = self.slowest_us if n else None
        found[f"{prefix}_worst_us"] = Figure(worst, "us", "measured", samples=n, device=device, note=note)
        return found

    def table(self, bins: int = MAX_BINS) -> dict[str, list[float] | list[int]]:
        """The same in at most ``bins`` bins, as a stored result holds it: edges_us, counts."""
        filled = np.flatnonzero(self.counts)
        if not len(filled):
            return {"edges_us": [LEAST_US, LEAST_US * RATIO], "counts": [0]}
        first, last = int(filled[0]), int(filled[-1]) + 1
        step = max(1, math.ceil((last - first) / bins))
        cuts = [*range(first, last, step), last]
        counts = [int(self.counts[low:high].sum()) for low, high in pairwise(cuts)]
        edges = [LEAST_US * RATIO**cut for cut in cuts]
        edges[-1] = max(edges[-1], self.slowest_us)
        return {"edges_us": edges, "counts": counts}
