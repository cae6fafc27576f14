"""Law: a warm-up ends when the latency has stopped changing, within its bound, and says which of the two it was."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotfish.runtime.measure.stationary import ALPHA, MOST_CALLS, compare, rank_test, warm_up

SAMPLES = st.lists(st.integers(0, 12), min_size=5, max_size=60)


class Work:
    """A clock that only work moves: call k lasts ``duration(k)`` nanoseconds."""

    def __init__(self, duration) -> None:
        self.time, self.duration, self.calls = 1_000, duration, 0

    def now_ns(self) -> int:
        return self.time

    def call(self, k: int) -> None:
        assert k == self.calls
        self.calls += 1
        self.time += int(self.duration(k))


def test_a_decaying_latency_is_waited_for() -> None:
    noise = np.random.default_rng(0)
    work = Work(lambda k: 20_000 * (1 + 4 * np.exp(-k / 300)) + noise.normal(0, 400))
    done = warm_up(work.call, now_ns=work.now_ns)
    assert done.steady and done.calls == work.calls < MOST_CALLS
    assert 4 * np.exp(-done.calls / 300) < 0.05  # what is left of the five-fold first calls


@pytest.mark.parametrize("seed", range(5))
def test_a_steady_latency_is_not_waited_for(seed: int) -> None:
    noise = np.random.default_rng(seed)
    work = Work(lambda _: noise.lognormal(10, 0.1) * (20 if noise.random() < 0.01 else 1))  # interrupts and all
    done = warm_up(work.call, now_ns=work.now_ns)
    assert done.steady and done.calls <= 450


def test_a_latency_that_keeps_growing_ends_at_the_bound_and_says_so() -> None:
    work = Work(lambda k: 10_000 + 30 * k)
    done = warm_up(work.call, now_ns=work.now_ns, most_calls=3_000)
    assert done.steady is False and done.calls == 3_000 and done.shift > 0.01 and done.p < ALPHA


def test_a_slow_policy_is_bounded_by_time() -> None:
    work = Work(lambda _: 300_000_000)
    done = warm_up(work.call, now_ns=work.now_ns)
    assert done.calls == 4 and done.steady is None and done.p is None and done.seconds == pytest.approx(1.2)
    work = Work(lambda _: 20_000_000)
    assert warm_up(work.call, now_ns=work.now_ns).steady is True


@pytest.mark.parametrize(
    ("first", "second", "p"),
    [
        ([24, 2, 5, 7, 5, 24, 26, 17], [1, 2, 9, 12, 18, 14, 7, 4, 20, 22, 0], 0.341476682103543),
        ([3, 13, 11, 26, 15, 12, 12, 19], [23, 6, 29, 30, 38, 31, 11, 12, 25, 26, 27], 0.062492537268523246),
    ],
)
def test_the_test_is_the_usual_one(first: list[int], second: list[int], p: float) -> None:
    """As scipy 1.17.1 has it: scipy.stats.mannwhitneyu(first, second, method="asymptotic")."""
    assert rank_test(np.array(first), np.array(second)) == pytest.approx(p, abs=1e-12)


def test_it_seldom_cries_wolf_and_sees_what_is_there() -> None:
    generator = np.random.default_rng(4)
    alarms = [rank_test(*generator.lognormal(size=(2, 60))) <= ALPHA for _ in range(2_000)]
    assert np.mean(alarms) < 2 * ALPHA
    seen = [rank_test(generator.normal(size=60), generator.normal(1, 1, size=60)) <= ALPHA for _ in range(200)]
    assert np.mean(seen) > 0.95


@given(SAMPLES, SAMPLES, st.integers(1, 1000))
def test_it_knows_no_order_and_no_unit(first: list[int], second: list[int], unit: int) -> None:
    a, b = np.array(first, float), np.array(second, float)
    p = rank_test(a, b)
    assert 0 <= p <= 1 and p == pytest.approx(rank_test(b, a)) == pytest.approx(rank_test(a * unit, b * unit))
    assert rank_test(a, a) == 1.0 and compare(a, a).steady
