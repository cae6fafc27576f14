"""Law: a percentile is reported only where its order-statistic interval fits into the sample, and the interval covers."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilotfish.runtime.measure.percentiles import (
    MAX_BINS,
    histogram,
    interval_ranks,
    percentile,
    percentile_figures,
    samples_needed,
)


def between(n: int, q: float, low: int, high: int) -> float:
    """P(low <= B <= high) for B ~ Binomial(n, q), term by term."""
    return math.fsum(math.comb(n, k) * q**k * (1 - q) ** (n - k) for k in range(low, high + 1))


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 400), st.sampled_from([0.5, 0.9, 0.95, 0.99, 0.1]), st.sampled_from([0.9, 0.95, 0.99]))
def test_interval_covers_the_quantile_or_does_not_exist(n: int, q: float, confidence: float) -> None:
    whole = between(n, q, 1, n - 1)
    ranks = interval_ranks(n, q, confidence)
    if ranks is None:
        assert whole < confidence + 1e-9
        return
    low, high = ranks
    assert 1 <= low < high <= n
    assert between(n, q, low, high - 1) >= confidence - 1e-9
    # Not wider than it must be: each end moved inwards leaves more than its share of doubt outside.
    if high - low > 2 and low > 1 and high < n:
        assert between(n, q, 0, low) > (1 - confidence) / 2 - 1e-9
        assert between(n, q, high - 1, n) > (1 - confidence) / 2 - 1e-9


@pytest.mark.parametrize(("q", "needed"), [(0.5, 8), (0.99, 459), (0.999, 4603)])
def test_samples_needed_is_the_exact_limit(q: float, needed: int) -> None:
    assert samples_needed(q) == needed
    assert interval_ranks(needed, q) is not None
    assert interval_ranks(needed - 1, q) is None
    assert 1 - q**needed - (1 - q) ** needed >= 0.99 > 1 - q ** (needed - 1) - (1 - q) ** (needed - 1)


def test_a_million_samples_agree_with_the_normal_approximation() -> None:
    n, q = 1_000_000, 0.999
    low, high = interval_ranks(n, q)
    half = 2.5758 * math.sqrt(n * q * (1 - q))
    assert abs(low - (n * q - half)) < 3 and abs(high - (n * q + half)) < 4


def test_intervals_cover_the_true_percentile_of_a_skewed_distribution() -> None:
    generator, n, q = np.random.default_rng(1), 600, 0.99
    true = -math.log(1 - q)
    low, high = interval_ranks(n, q)
    samples = np.sort(generator.exponential(size=(2000, n)), axis=1)
    covered = ((samples[:, low - 1] <= true) & (true <= samples[:, high - 1])).mean()
    assert covered >= 0.98


@given(st.lists(st.floats(0.01, 1e6), min_size=1, max_size=300), st.sampled_from([0.5, 0.9, 0.99, 0.999]))
def test_percentile_is_a_value_that_occurred_with_the_right_share_below(values: list[float], q: float) -> None:
    ordered = np.sort(values)
    found = percentile(ordered, q)
    assert found in ordered
    assert (ordered <= found).mean() >= q - 1e-9
    assert (ordered < found).mean() < q + 1e-9


def test_unsupported_percentiles_are_not_reported_and_say_what_is_missing() -> None:
    figures = percentile_figures("tight", np.arange(1.0, 501.0), source="measured", device="d")
    assert figures["tight_p50_us"].value == 250 and figures["tight_p99_us"].value == 495
    assert figures["tight_p99_us"].low < 495 <= figures["tight_p99_us"].high
    assert figures["tight_p999_us"].value is None and "4,603" in figures["tight_p999_us"].note
    assert figures["tight_worst_us"].value == 500


@settings(deadline=None)
@given(st.lists(st.floats(0, 1e9), min_size=1, max_size=500))
def test_a_histogram_holds_every_sample(values: list[float]) -> None:
    drawn = histogram(np.array(values))
    assert sum(drawn["counts"]) == len(values)
    assert len(drawn["edges_us"]) == len(drawn["counts"]) + 1 <= MAX_BINS + 1
    assert all(b > a for a, b in zip(drawn["edges_us"], drawn["edges_us"][1:], strict=False))
