"""Paced measurement proves itself: artificial policies whose delays are known, and what the measurement says of them.

``python -m pilotfish.runtime.measure.pace_proof`` runs them on the device at hand. Each policy computes for a time that was drawn
beforehand, and notes by itself when it began and ended. The truth is worked out from those notes and the releases alone, and
has to agree with what :mod:`pilotfish.runtime.measure.pace` reported, however busy the machine is: what the machine adds to a
response stands in both. What may differ is the time between a note and the measurement's own reading of the clock.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from .pace import Clock, MonotonicClock, Paced, pace
from .percentiles import interval_ranks, percentile

Delays = Literal["fixed", "heavy-tailed", "spikes"]
KINDS: tuple[Delays, ...] = ("fixed", "heavy-tailed", "spikes")
BASE = 0.3
"""Typical delay as a share of the period."""
SPIKE, SPIKES_PER_PERIOD = 5.0, 0.02
TAIL = 2.5
"""Exponent of the heavy tail: P(delay > x) = (x / least)^-TAIL, whose variance is finite and whose kurtosis is not."""


def delays_ns(kind: Delays, periods: int, period_ns: int, seed: int = 0) -> np.ndarray:
    """Known delays, int64 [periods]: always 0.3 periods; a Pareto distribution from 0.15 periods on; or 0.3 and at times 5 x."""
    generator = np.random.default_rng(seed)
    base = BASE * period_ns
    if kind == "fixed":
        return np.full(periods, round(base), np.int64)
    if kind == "heavy-tailed":
        return np.minimum(base / 2 * (1 - generator.random(periods)) ** (-1 / TAIL), 20 * period_ns).astype(np.int64)
    return np.where(generator.random(periods) < SPIKES_PER_PERIOD, SPIKE * base, base).astype(np.int64)


@dataclass(frozen=True, eq=False)
class Truth:
    """What happened in each period by the policy's own notes [n]."""

    response_ns: np.ndarray
    """int64 [n]: from the release to the end of the first computation that answers it."""
    answered: np.ndarray
    """bool [n]: the period had a computation of its own."""
    period_ns: int
    """Time for it."""

    @property
    def missed(self) -> np.ndarray:
        """bool [n]"""
        return ~self.answered | (self.response_ns > self.period_ns)


class Artificial:
    """A policy that computes for ``delays[k]`` nanoseconds in period k, and the clock that the measurement reads."""

    def __init__(self, delays: np.ndarray, clock: Clock) -> None:
        self.delays, self.clock = delays, clock
        self.first_ns: int | None = None
        self.ended_ns = np.full(len(delays), -1, np.int64)

    def now_ns(self) -> int:
        """The clock's time; the first reading is noted, since the first release follows from it."""
        now = self.clock.now_ns()
        self.first_ns = now if self.first_ns is None else self.first_ns
        return now

    def sleep_ns(self, duration: int) -> None:
        """As the clock sleeps."""
        self.clock.sleep_ns(duration)

    def call(self, k: int) -> None:
        """Compute, as long as period k was given."""
        end = (now := self.clock.now_ns()) + int(self.delays[k])
        while now < end:
            now = self.clock.now_ns()
        self.ended_ns[k] = now

    def truth(self, hz: float, spin_ns: int) -> Truth:
        """What its notes say, by a rule that knows nothing of the loop: a period is answered by the next end that is noted."""
        n = len(self.delays)
        release = (self.first_ns or 0) + spin_ns + np.round(np.arange(n) * 1e9 / hz).astype(np.int64)
        answered = self.ended_ns >= 0
        ends = self.ended_ns[answered]
        places = np.flatnonzero(answered)
        return Truth(ends[np.searchsorted(places, np.arange(n))] - release, answered, round(1e9 / hz))


@dataclass(frozen=True)
class Proof:
    """Reported against true, for one artificial policy."""

    kind: Delays
    """Which delays."""
    periods: int
    """How many."""
    percentiles_us: dict[str, tuple[float, float]]
    """Name -> (reported, true), where the sample supports the percentile."""
    misses: tuple[int, int]
    """(reported, true)"""
    longest_miss_run: tuple[int, int]
    """(reported, true)"""
    unsure: int
    """Periods whose true response lies within the largest error of the deadline: misses may differ by so many."""
    error_us: float
    """99th percentile of |reported - true| over the periods: the stated error."""


def prove(kind: Delays, hz: float, periods: int, *, clock: Clock | None = None, seed: int = 0, spin_ns: int = 200_000) -> Proof:
    """Pace an artificial policy and hold what is reported against its own notes."""
    policy = Artificial(delays_ns(kind, periods, round(1e9 / hz), seed), clock or MonotonicClock())
    paced = pace(policy.call, hz, periods, clock=policy, spin_ns=spin_ns)
    return compare(kind, paced, policy.truth(hz, spin_ns))


def compare(kind: Delays, paced: Paced, truth: Truth) -> Proof:
    """Reported against true."""
    n = len(paced.response_ns)
    reported, true = np.sort(paced.response_ns), np.sort(truth.response_ns)
    shown = {
        name: (percentile(reported, q) / 1e3, percentile(true, q) / 1e3)
        for name, q in (("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999))
        if interval_ranks(n, q)
    }
    error = np.sort(np.abs(paced.response_ns - truth.response_ns))
    bound = percentile(error, 0.99)
    unsure = int((np.abs(truth.response_ns - truth.period_ns) <= error[-1]).sum())
    as_paced = Paced(truth.response_ns, np.where(truth.answered, 0, -1), np.zeros(n, np.int64), truth.period_ns)
    return Proof(
        kind,
        n,
        shown | {"worst": (float(reported[-1]) / 1e3, float(true[-1]) / 1e3)},
        (paced.misses, int(truth.missed.sum())),
        (paced.longest_miss_run, as_paced.longest_miss_run),
        unsure,
        bound / 1e3,
    )


def _told(proof: Proof) -> str:
    pairs = "  ".join(f"{name} {one:,.1f} / {other:,.1f}" for name, (one, other) in proof.percentiles_us.items())
    counts = (
        f"misses {proof.misses[0]} / {proof.misses[1]}  longest run {proof.longest_miss_run[0]} / {proof.longest_miss_run[1]}"
    )
    return f"{proof.kind:>12}: {pairs}  {counts}  error {proof.error_us:.2f} us"


def main(say: Callable[[str], object], hz: float = 500.0, seconds: float = 10.0) -> None:
    """All kinds on this device's own clock, reported / true, in microseconds."""
    for kind in KINDS:
        say(_told(prove(kind, hz, round(hz * seconds))))


if __name__ == "__main__":
    main(lambda line: sys.stdout.write(line + "\n"))
