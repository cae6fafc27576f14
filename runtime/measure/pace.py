"""Pacing: one call per control period against absolute deadlines, as a control loop makes them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np

SPIN_NS = 200_000
"""The last stretch before a release is spun: a sleep alone wakes 50 to 100 us late on an ordinary kernel."""


class Clock(Protocol):
    """Monotonic time; a test brings its own."""

    def now_ns(self) -> int:
        """Nanoseconds since some fixed moment."""

    def sleep_ns(self, duration: int) -> None:
        """Sleep about that long."""


class MonotonicClock:
    """time.perf_counter_ns and time.sleep (clock_nanosleep since Python 3.11)."""

    now_ns = staticmethod(time.perf_counter_ns)

    @staticmethod
    def sleep_ns(duration: int) -> None:
        time.sleep(duration * 1e-9)


@dataclass(frozen=True, eq=False)
class Paced:
    """What a paced run saw, one entry per period [n]."""

    response_ns: np.ndarray
    """int64 [n]: from the release (the moment the observation is due) to the first action that answers it."""
    start_ns: np.ndarray
    """int64 [n]: from the release to the start of the call; -1 where the period was skipped."""
    call_ns: np.ndarray
    """int64 [n]: duration of the call alone; -1 where the period was skipped."""
    period_ns: int
    """The deadline: the action must be there before the next release."""

    @property
    def missed(self) -> np.ndarray:
        """bool [n]: the action came after the next release, or not for this observation at all."""
        return (self.response_ns > self.period_ns) | (self.start_ns < 0)

    @property
    def misses(self) -> int:
        return int(self.missed.sum())

    @property
    def longest_miss_run(self) -> int:
        """Most periods in a row without their action: how long the robot flies blind."""
        return int(self._runs.max(initial=0))

    @property
    def miss_runs(self) -> dict[int, int]:
        """Length -> how many runs of misses, periods in a row without their action, were that long; ascending."""
        lengths, times = np.unique(self._runs, return_counts=True)
        return {int(length): int(count) for length, count in zip(lengths, times, strict=True)}

    @property
    def _runs(self) -> np.ndarray:
        edges = np.flatnonzero(np.diff(np.concatenate([[0], self.missed.astype(np.int8), [0]])))
        return edges[1::2] - edges[::2]

    @property
    def skipped(self) -> int:
        """Periods that had passed entirely before their call could start."""
        return int((self.start_ns < 0).sum())

    @property
    def late(self) -> int:
        """Misses whose own call was short enough: skipped, or begun late because the machine was busy elsewhere."""
        return int((self.missed & (self.call_ns <= self.period_ns)).sum())

    @property
    def deviation_ns(self) -> np.ndarray:
        """int64 [<= n - 1]: by how much the interval between the starts of neighboring calls was longer or shorter than the
        period; none where either was skipped."""
        both = (self.start_ns[1:] >= 0) & (self.start_ns[:-1] >= 0)
        return np.abs(np.diff(self.start_ns))[both]

    @property
    def jitter_ns(self) -> int:
        """The largest of the deviations."""
        return int(self.deviation_ns.max(initial=0))


def pace(
    call: Callable[[int], object],
    hz: float,
    periods: int,
    *,
    clock: Clock | None = None,
    spin_ns: int = SPIN_NS,
    progress: Callable[[int, int], None] | None = None,
    begun: tuple[int, int] | None = None,
) -> Paced:
    """Run ``call(k)`` in period k = 0 … ``periods`` - 1, released at t0 + k / ``hz`` exactly (no drift).

    ``begun``: (t0 in nanoseconds of ``clock``, j) where an earlier run goes on; period k is released at t0 + (j + k) / ``hz``.

    A period whose end has passed before its call could start is skipped, as a control loop drops a stale
    observation; it counts as missed, and its response lasts until the next action, so that one long stall
    shows in every period that it spoiled (no coordinated omission).
    """
    clock = clock or MonotonicClock()
    period = round(1e9 / hz)
    response, start, duration = (np.full(periods, -1, np.int64) for _ in range(3))
    # The first release lies one spin ahead, so that even period 0 is waited for.
    origin, first = begun or (clock.now_ns() + max(spin_ns, 1000), 0)
    k, waiting = 0, 0
    now_ns, every = clock.now_ns, max(1, periods // 100)
    while k < periods:
        release = origin + round((first + k) * 1e9 / hz)
        left = release - now_ns()
        if left > spin_ns:
            clock.sleep_ns(left - spin_ns)
        while (begin := now_ns()) < release:
            pass
        if begin - release >= period and k + 1 < periods:
            k += 1  # its whole period has passed: ``waiting`` remembers it until an action comes
            continue
        call(k)
        end = now_ns()
        start[k], duration[k] = begin - release, end - begin
        for earlier in range(waiting, k + 1):
            response[earlier] = end - (origin + round((first + earlier) * 1e9 / hz))
        k += 1
        waiting = k
        if progress and k % every == 0:
            progress(k, periods)
    return Paced(response, start, duration, period)
