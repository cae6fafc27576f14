"""Bootstrap intervals for statistics of paired returns, with numpy alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

RESAMPLES = 10_000
CONFIDENCE = 0.95
SPREAD = "95 % bootstrap interval"
_CHUNK = 1 << 22
"""Counts drawn at a time, so that thousands of episodes do not take gigabytes."""


@dataclass(frozen=True)
class Interval:
    """A point estimate between the ends of its interval; no ends where the sample supports none."""

    value: float
    low: float | None
    high: float | None
    note: str = ""


Statistic = Callable[[np.ndarray], np.ndarray]
"""From means [..., k] of the k columns to the statistic [...]: mean, difference of means, ratio of means."""


def mean(means: np.ndarray) -> np.ndarray:
    """The first column's mean."""
    return means[..., 0]


def difference(means: np.ndarray) -> np.ndarray:
    """First minus second; with paired rows this is the mean of the paired differences."""
    return means[..., 0] - means[..., 1]


def ratio(means: np.ndarray) -> np.ndarray:
    """Ratio of the means (not the mean of ratios, which one bad denominator ruins)."""
    return means[..., 0] / means[..., 1]


def bootstrap(
    columns: np.ndarray, statistic: Statistic = mean, *, confidence: float = CONFIDENCE, resamples: int = RESAMPLES, seed: int = 0
) -> Interval:
    """Bias-corrected and accelerated interval (BCa; Efron 1987) of a statistic of column means.

    ``columns`` float [n, k] (or [n]): one row per episode, drawn whole, so that pairs stay pairs. The seed is fixed: the
    same returns give the same interval. Fewer than two rows, or rows that are all alike, support no interval
    (low = high = None, or = value). Below some 10 rows a bootstrap interval is too narrow: at n = 5 a nominal 95 %
    covers about 80 to 85 %.
    """
    data = np.asarray(columns, np.float64)
    data = data[:, None] if data.ndim == 1 else data
    n = len(data)
    if n == 0 or not np.isfinite(data).all():
        raise ValueError("bootstrap needs at least one row of finite numbers")
    value = float(statistic(data.mean(axis=0)))
    if n < 2:
        return Interval(value, None, None, "one episode supports no interval")
    if not math.isfinite(value):
        return Interval(value, None, None, "the statistic is not finite")
    drawn = _resampled(data, statistic, resamples, seed)
    if not np.isfinite(drawn).all():
        return Interval(value, None, None, "the statistic is not finite on some resamples")
    if np.ptp(drawn) <= 1e-12 * max(1.0, abs(value)):
        return Interval(value, value, value, "all episodes are alike")
    tail = (1 - confidence) / 2
    low, high = np.quantile(drawn, _bca_levels(data, statistic, value, drawn, tail))
    note = f"{n} episodes: take the interval as a lower bound of the doubt" if n < 10 else ""
    return Interval(value, float(low), float(high), note)


def _resampled(data: np.ndarray, statistic: Statistic, resamples: int, seed: int) -> np.ndarray:
    """The statistic of each resample, float64 [resamples]; a resample is how often each row was drawn."""
    n, generator = len(data), np.random.default_rng(seed)
    chunk, parts = max(1, _CHUNK // n), []
    for start in range(0, resamples, chunk):
        counts = generator.multinomial(n, np.full(n, 1 / n), size=min(chunk, resamples - start))
        parts.append(statistic(counts @ data / n))
    return np.concatenate(parts)


def _bca_levels(data: np.ndarray, statistic: Statistic, value: float, drawn: np.ndarray, tail: float) -> list[float]:
    """Quantile levels of the two ends; the plain percentile levels where the correction is undefined."""
    normal, n = NormalDist(), len(data)
    below = float((drawn < value).mean() + 0.5 * (drawn == value).mean())
    left_out = statistic((data.sum(axis=0) - data) / (n - 1))
    centered = left_out.mean() - left_out
    spread = float((centered**2).sum())
    if not 0 < below < 1 or not math.isfinite(spread) or spread == 0:
        return [tail, 1 - tail]
    bias, acceleration = normal.inv_cdf(below), float((centered**3).sum()) / (6 * spread**1.5)
    levels = []
    for z in (normal.inv_cdf(tail), normal.inv_cdf(1 - tail)):
        denominator = 1 - acceleration * (bias + z)
        if denominator <= 0:
            return [tail, 1 - tail]
        levels.append(normal.cdf(bias + (bias + z) / denominator))
    return levels
