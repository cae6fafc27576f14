"""The interquartile mean and its stratified bootstrap against scipy, and the laws that both must keep."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from pilotfish.runtime.interquartile import interquartile_mean, mean, stratified_bootstrap

SCORES = arrays(np.float64, array_shapes(min_dims=1, max_dims=2, min_side=1, max_side=9), elements=st.floats(-1e6, 1e6))


@given(SCORES)
@settings(deadline=None)
def test_it_is_scipys_trimmed_mean(scores: np.ndarray) -> None:
    stats = pytest.importorskip("scipy.stats", reason="scipy is not installed")
    expected = stats.trim_mean(scores, 0.25, axis=-1)
    np.testing.assert_allclose(interquartile_mean(scores), expected, rtol=1e-9, atol=1e-6)


@given(SCORES)
@settings(deadline=None)
def test_an_interval_lies_within_the_scores_and_is_repeatable(scores: np.ndarray) -> None:
    found = stratified_bootstrap(scores, interquartile_mean, resamples=200)
    assert found == stratified_bootstrap(scores, interquartile_mean, resamples=200)
    if found.low is None or found.high is None:
        assert len(scores) == 1
        return
    slack = 1e-9 * max(1.0, np.abs(scores).max())
    assert scores.min() - slack <= found.low <= found.high <= scores.max() + slack


@pytest.mark.parametrize("statistic", [mean, interquartile_mean])
def test_it_is_scipys_percentile_bootstrap(statistic: Callable[[np.ndarray], np.ndarray]) -> None:
    stats = pytest.importorskip("scipy.stats", reason="scipy is not installed")
    scores = np.random.default_rng(3).normal(100, 20, 12)
    ours = stratified_bootstrap(scores, statistic, resamples=50_000)
    theirs = stats.bootstrap(
        (scores,), lambda x, axis: statistic(np.moveaxis(x, axis, -1)), method="percentile", n_resamples=50_000, rng=1
    ).confidence_interval
    assert ours.low == pytest.approx(theirs.low, abs=0.5)
    assert ours.high == pytest.approx(theirs.high, abs=0.5)


def test_strata_keep_their_share() -> None:
    """Two tasks of very different scales: runs are drawn within each, so the gap between the tasks adds no doubt."""
    scores = np.stack([np.linspace(0, 1, 8), np.linspace(1000, 1001, 8)], axis=1)
    found = stratified_bootstrap(scores, mean)
    assert found.low is not None and found.high is not None and found.high - found.low < 1.0
    mixed = stratified_bootstrap(scores.reshape(-1), mean)
    assert mixed.low is not None and mixed.high is not None and mixed.high - mixed.low > 100.0


def test_a_nominal_interval_covers_about_as_often_as_it_says() -> None:
    draws = np.random.default_rng(0).normal(size=(300, 20))
    found = [stratified_bootstrap(row, mean, resamples=1000) for row in draws]
    covered = np.mean([one.low <= 0.0 <= one.high for one in found if one.low is not None and one.high is not None])
    assert 0.87 <= covered <= 0.97  # a percentile interval of 20 normal draws covers some 93 %


def test_what_supports_no_interval_has_none() -> None:
    assert stratified_bootstrap(np.array([5.0]), mean).low is None
    alike = stratified_bootstrap(np.full(4, 7.0), interquartile_mean)
    assert (alike.low, alike.value, alike.high) == (7.0, 7.0, 7.0)
    with pytest.raises(ValueError, match="finite"):
        stratified_bootstrap(np.array([1.0, np.nan]), mean)
