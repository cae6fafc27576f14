"""Is a latency steady yet? A rank test decides when the warm-up ends, and whether a run drifted.

The test: take the newest half of the calls so far, and compare its first part with its second by the rank-sum test of Mann
and Whitney (Ann. Math. Stat. 18, 1947; normal approximation with ties and continuity, as in Lehmann, Nonparametrics, 1.5).
Steady means that the test cannot tell the parts apart (p > 1 %), or that their medians differ by no more than 1 %: in long
samples even a difference that does not matter is certain. Ranks, because one interrupt must not decide it. Latencies that
follow each other are not independent, which makes the test stricter than 1 % says: it warms up rather too long.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

ALPHA = 0.01
SAME = 0.01
"""Relative difference of two medians that nobody needs to care about."""
FIRST_TEST = 200
"""Calls before the first test: parts of 50, which notice a shift by about one standard deviation."""
MOST_CALLS = 20_000
MOST_SECONDS = 1.0


@dataclass(frozen=True)
class Steadiness:
    """Two parts of a sample, held against each other."""

    p: float
    """How likely so large a difference of ranks would be if nothing had changed."""
    shift: float
    """Median of the later part over that of the earlier, minus 1."""

    @property
    def steady(self) -> bool:
        """No difference that is both certain and large enough to matter."""
        return self.p > ALPHA or abs(self.shift) <= SAME


@dataclass(frozen=True)
class WarmUp:
    """What a warm-up took and how it ended."""

    calls: int
    """Calls made, none of which is in any figure."""
    seconds: float
    """How long they took."""
    steady: bool | None
    """The test was passed; None: there was time for too few calls to ask."""
    p: float | None
    """Of the last test."""
    shift: float | None
    """Of the last test."""


def compare(earlier: np.ndarray, later: np.ndarray) -> Steadiness:
    """Hold latencies [n] against later ones [m] of the same kind."""
    middle = float(np.median(earlier))
    return Steadiness(rank_test(earlier, later), float(np.median(later)) / middle - 1 if middle else 0.0)


def rank_test(first: np.ndarray, second: np.ndarray) -> float:
    """Two-sided p of Mann and Whitney's test for two samples [n], [m]; 1.0 where all values are equal or one is empty."""
    n, m = len(first), len(second)
    if not n or not m:
        return 1.0
    _, place, times = np.unique(np.concatenate([first, second]), return_inverse=True, return_counts=True)
    ends = np.cumsum(times)
    ranks = (ends - (times - 1) / 2)[place.reshape(-1)]
    u = float(ranks[:n].sum()) - n * (n + 1) / 2
    total = n + m
    variance = n * m / 12 * (total + 1 - float((times**3.0 - times).sum()) / (total * (total - 1)))
    if variance <= 0:
        return 1.0
    z = max(abs(u - n * m / 2) - 0.5, 0.0) / math.sqrt(variance)
    return math.erfc(z / math.sqrt(2))


def warm_up(
    call: Callable[[int], object],
    *,
    now_ns: Callable[[], int] = time.perf_counter_ns,
    most_calls: int = MOST_CALLS,
    most_seconds: float = MOST_SECONDS,
) -> WarmUp:
    """Call ``call(k)``, k = 0, 1, …, until its duration is steady, at most so many times and about so long.

    Tests after 200 calls, then each time half as many more have been made, so that what is compared grows with the time that
    a drift would need to show.
    """
    elapsed: list[int] = []
    begun = now_ns()
    stop, due = begun + int(most_seconds * 1e9), FIRST_TEST
    found: Steadiness | None = None
    while len(elapsed) < most_calls:
        start = now_ns()
        call(len(elapsed))
        end = now_ns()
        elapsed.append(end - start)
        if len(elapsed) == due:
            found, due = _newest_half(elapsed), due + due // 2
            if found.steady:
                break
        if end > stop:
            break
    if found is None and len(elapsed) >= 40:  # a slow policy: parts of ten are the least that can say anything
        found = _newest_half(elapsed)
    seconds = (now_ns() - begun) * 1e-9
    if found is None:
        return WarmUp(len(elapsed), seconds, None, None, None)
    return WarmUp(len(elapsed), seconds, found.steady, found.p, found.shift)


def _newest_half(elapsed: list[int]) -> Steadiness:
    newest = np.asarray(elapsed[len(elapsed) // 2 :], np.float64)
    middle = len(newest) // 2
    return compare(newest[:middle], newest[middle:])
