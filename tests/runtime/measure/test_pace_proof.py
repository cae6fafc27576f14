"""Paced measurement proves itself: percentiles, misses and runs of misses of policies with known delays are the true ones.

On a simulated clock, exactly; on the clock of the machine at hand, within the error that the proof itself states.
"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilotfish.runtime.measure.pace import Paced, pace
from pilotfish.runtime.measure.pace_proof import KINDS, SPIKE, Artificial, Delays, delays_ns, prove
from pilotfish.runtime.measure.paced_figures import paced_figures


class Simulated(Artificial):
    """Time that only computing and sleeping move, by exactly as much as they should."""

    def __init__(self, delays: np.ndarray) -> None:
        super().__init__(delays, self)
        self.time = 1_000_000

    def now_ns(self) -> int:
        if self.first_ns is None:
            self.first_ns = self.time
        return self.time

    def sleep_ns(self, duration: int) -> None:
        self.time += duration

    def call(self, k: int) -> None:
        self.time += int(self.delays[k])
        self.ended_ns[k] = self.time


def expected(delays: np.ndarray, period: int) -> tuple[np.ndarray, np.ndarray]:
    """(response, missed) by queueing theory's view: a server, arrivals every period, and work that is dropped when stale."""
    n, free, answers = len(delays), 0, {}
    for k in range(n):
        begin = max(k * period, free)
        if begin >= (k + 1) * period and k + 1 < n:
            continue
        free = answers[k] = begin + int(delays[k])
    ends = [min(answers[j] for j in range(k, n) if j in answers) if k not in answers else answers[k] for k in range(n)]
    response = np.array(ends) - np.arange(n) * period
    return response, (response > period) | np.array([k not in answers for k in range(n)])


def simulate(delays: np.ndarray, hz: float) -> Paced:
    policy = Simulated(delays)
    return pace(policy.call, hz, len(delays), clock=policy, spin_ns=0)  # it sleeps exactly


def longest(missed: np.ndarray) -> int:
    return max(map(len, "".join("x" if each else " " for each in missed).split()), default=0)


@pytest.mark.parametrize("kind", KINDS)
def test_known_delays_on_a_simulated_clock_are_reported_exactly(kind: Delays) -> None:
    hz, period = 1000.0, 1_000_000
    delays = delays_ns(kind, 5_000, period, seed=2)
    paced = simulate(delays, hz)
    response, missed = expected(delays, period)
    np.testing.assert_array_equal(paced.response_ns, response)
    np.testing.assert_array_equal(paced.missed, missed)
    assert paced.misses == missed.sum() and paced.longest_miss_run == longest(missed)
    assert sum(length * runs for length, runs in paced.miss_runs.items()) == paced.misses
    figures = paced_figures(paced, "simulated", None)
    ordered = np.sort(response)
    for name, rank in (("p50", 2_500), ("p99", 4_950), ("p999", 4_995)):
        assert figures[f"paced_{name}_us"].value == ordered[rank - 1] / 1e3
    assert figures["paced_worst_us"].value == response.max() / 1e3
    if kind == "fixed":
        assert set(response) == {300_000} and paced.misses == 0 and paced.jitter_ns == 0
    if kind == "spikes":
        lone = np.flatnonzero(delays > period)
        assert missed[lone].all() and 0.015 < len(lone) / 5_000 < 0.025
        assert delays[lone[0]] == SPIKE * 300_000 and paced.longest_miss_run >= 2


@settings(max_examples=30)
@given(st.lists(st.integers(1, 4_000_000), min_size=1, max_size=60), st.sampled_from([250.0, 1000.0]))
def test_any_delays_on_a_simulated_clock(delays: list[int], hz: float) -> None:
    paced = simulate(np.array(delays), hz)
    response, missed = expected(np.array(delays), paced.period_ns)
    np.testing.assert_array_equal(paced.response_ns, response)
    np.testing.assert_array_equal(paced.missed, missed)
    assert paced.longest_miss_run == longest(missed)


def test_intervals_cover_the_true_percentiles_of_a_heavy_tail() -> None:
    """At one period per second no delay disturbs another, so the quantiles of the response are the distribution's own."""
    covered = {"p50": 0, "p99": 0, "p999": 0}
    repeats = 50
    for seed in range(repeats):
        delays = delays_ns("heavy-tailed", 4_700, 1_000_000, seed)
        figures = paced_figures(simulate(delays, 1.0), "simulated", None)
        for name, q in (("p50", 0.5), ("p99", 0.99), ("p999", 0.999)):
            figure = figures[f"paced_{name}_us"]
            true_us = 150 * (1 - q) ** (-1 / 2.5)
            covered[name] += figure.low <= true_us <= figure.high
    assert all(count >= 0.96 * repeats for count in covered.values()), covered


@pytest.mark.parametrize("kind", KINDS)
def test_known_delays_on_the_real_clock_are_reported_within_the_stated_error(kind: Delays) -> None:
    """However busy this machine is: what it adds to a response is in the truth, too."""
    proof = prove(kind, 1000.0, 500, seed=1)
    assert set(proof.percentiles_us) == {"p50", "p99", "worst"}
    reported, true = proof.percentiles_us["p50"]
    assert 0 <= reported - true <= 200 and proof.error_us <= 1_000
    assert abs(proof.misses[0] - proof.misses[1]) <= proof.unsure
    if not proof.unsure:
        assert proof.longest_miss_run[0] == proof.longest_miss_run[1]
    if kind == "spikes":
        assert proof.misses[1] >= 5  # of some ten that were drawn, each half a period too long
    assert true >= (150 if kind == "heavy-tailed" else 300)
