"""Law: absolute deadlines, no drift; every period that had no action in time is a miss, skipped ones included."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pilotfish.runtime.measure.pace import pace

MS = 1_000_000


class FakeClock:
    """Time that passes only by reading it (a little), sleeping and working; sleeps oversleep by ``late``."""

    def __init__(self, late: int = 0, tick: int = 100) -> None:
        self.time, self.late, self.tick, self.slept = 12_345, late, tick, 0

    def now_ns(self) -> int:
        self.time += self.tick
        return self.time

    def sleep_ns(self, duration: int) -> None:
        self.slept += 1
        self.time += duration + self.late


def run(durations: list[int], hz: float = 1000.0, **clock_options: int):
    clock = FakeClock(**clock_options)
    calls: list[int] = []

    def call(k: int) -> None:
        calls.append(k)
        clock.time += durations[k]

    return pace(call, hz, len(durations), clock=clock), calls


def test_fast_calls_miss_nothing_and_never_drift() -> None:
    paced, calls = run([50_000] * 3000, hz=333.0)
    assert calls == list(range(3000))
    assert paced.misses == paced.longest_miss_run == paced.skipped == 0
    assert paced.start_ns.max() <= 300  # the clock's own ticks, in the last period as in the first
    assert (paced.call_ns >= 50_000).all() and paced.response_ns.max() < 51_000
    assert paced.jitter_ns <= 300


def test_a_stall_shows_in_every_period_that_it_spoiled() -> None:
    durations = [50_000] * 20
    durations[5] = int(2.5 * MS)
    paced, calls = run(durations)
    assert 6 not in calls and calls[:6] == [0, 1, 2, 3, 4, 5] and calls[6] == 7
    assert paced.missed.nonzero()[0].tolist() == [5, 6]
    assert paced.skipped == paced.late == 1 and paced.longest_miss_run == 2
    # Period 6 waited for the action of period 7, which began half a period late.
    assert abs(paced.response_ns[6] - (1.5 * MS + 50_000)) < 1000
    assert abs(paced.start_ns[7] - 0.5 * MS) < 1000
    assert paced.start_ns[8] < 1000


def test_a_policy_slower_than_the_period_misses_always() -> None:
    paced, _ = run([int(1.2 * MS)] * 50)
    assert paced.misses == paced.longest_miss_run == 50


def test_oversleeping_is_part_of_the_response() -> None:
    paced, _ = run([50_000] * 10, late=500_000)
    assert paced.misses == 0
    assert (paced.response_ns[1:] > 300_000).all()  # 500 us late, 200 us of which the spin would have taken


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(1_000, 5 * MS), min_size=1, max_size=60), st.sampled_from([200.0, 777.0, 1000.0]))
def test_accounting_holds_for_any_durations(durations: list[int], hz: float) -> None:
    paced, calls = run(durations, hz)
    n, period = len(durations), paced.period_ns
    ran = paced.start_ns >= 0
    assert calls == np.flatnonzero(ran).tolist() and len(paced.response_ns) == n
    assert ran[-1]  # the run ends with an action, so every response is known
    assert (paced.response_ns > 0).all()
    assert (paced.response_ns[ran] >= paced.call_ns[ran]).all()
    assert (paced.response_ns[~ran] > period).all()
    long_calls = sum(durations[k] > period for k in calls)
    assert long_calls <= paced.misses <= n and paced.longest_miss_run <= paced.misses
    assert paced.skipped == n - len(calls) <= paced.misses
