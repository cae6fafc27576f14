"""The interquartile mean over training runs, and intervals by stratified bootstrap, with numpy alone.

Both as in Agarwal et al. 2021, "Deep reinforcement learning at the edge of the statistical precipice" (arXiv 2108.13264):
a few runs are a sample of what the algorithm does, so a bare mean over them says too much, and one run that failed or
was lucky moves it too far.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .statistics import CONFIDENCE, RESAMPLES, Interval

SPREAD = "95 % stratified bootstrap interval"
FEW = 10
"""Runs below which a percentile interval is too narrow to be taken at its word."""


def mean(scores: np.ndarray) -> np.ndarray:
    """float [..., n] -> the mean of the last axis [...]."""
    return scores.mean(axis=-1)


def interquartile_mean(scores: np.ndarray) -> np.ndarray:
    """float [..., n] -> the mean of the last axis without its lowest and highest quarter [...].

    A quarter is rounded down, as ``scipy.stats.trim_mean(x, 0.25)`` does: of five runs the middle three count, of fewer
    than four all.
    """
    n = scores.shape[-1]
    cut = n // 4
    return np.sort(scores, axis=-1)[..., cut : n - cut].mean(axis=-1)


def stratified_bootstrap(
    scores: np.ndarray,
    statistic: Callable[[np.ndarray], np.ndarray],
    *,
    confidence: float = CONFIDENCE,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """Percentile interval of a statistic of all scores; each task (a stratum) draws its runs on its own.

    ``scores`` float [runs] of one task, or [runs, tasks]; ``statistic`` maps [..., runs * tasks] to [...]. The seed is fixed:
    the same scores give the same interval. One run supports none.
    """
    table = np.asarray(scores, np.float64)
    table = table[:, None] if table.ndim == 1 else table
    runs, tasks = table.shape
    if table.size == 0 or not np.isfinite(table).all():
        raise ValueError("a bootstrap needs at least one run of finite scores")
    value = float(statistic(table.reshape(-1)))
    if runs < 2:
        return Interval(value, None, None, "one run supports no interval")
    if np.ptp(table, axis=0).max() == 0:
        return Interval(value, value, value, "all runs are alike")
    picks = np.random.default_rng(seed).integers(runs, size=(resamples, runs, tasks))
    drawn = statistic(table[picks, np.arange(tasks)].reshape(resamples, -1))
    tail = (1 - confidence) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail])
    note = f"{runs} runs: take the interval as a lower bound of the doubt" if runs < FEW else ""
    return Interval(value, float(low), float(high), note)
