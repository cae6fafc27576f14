"""Lightly trained predictors of what a genome keeps and costs, and how far they can be trusted.

Gaussian processes over a few numbers per genome, fitted to what has been measured, as in the alternation of search and lightly
trained predictors of SimQ-NAS (arXiv 2312.13301). A predictor that is no better than the mean on candidates that it was not
fitted to is not used.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import require
from .genome import Genome

FEWEST = 8
"""Measured candidates below which nothing is predicted."""
FOLDS = 4
"""A predictor is judged on a quarter of the candidates by what it learns from the others, four times."""
MOST = 200
"""The latest so many are fitted: a Gaussian process takes time cubic in their number."""


@dataclass(frozen=True)
class Trust:
    """How good a predictor is on candidates that it has not seen (cross-validation)."""

    samples: int
    mae: float
    """Mean absolute error."""
    mean_mae: float
    """The same of predicting the mean of those that it has seen."""
    spearman: float | None
    """Rank correlation of predicted and measured; None: all alike."""

    @property
    def used(self) -> bool:
        """Is it better than the mean, and in the right order?"""
        return self.mae < self.mean_mae and (self.spearman or 0.0) > 0


def features(genome: Genome, ends: tuple[int, int]) -> list[float]:
    """What a genome looks like to a predictor."""
    widths = [*genome.hidden] or [1]
    return [
        float(len(genome.hidden)),
        math.log2(genome.multiplications(ends) + 1),
        math.log2(sum(genome.hidden) + 1),
        math.log2(min(widths)),
        math.log2(widths[-1]),
        genome.sparsity,
        genome.rank,
        float(np.mean(genome.bits)) if genome.quantized else 32.0,
        float(genome.reads == "int8"),
        float(genome.reads == "int16"),
        float(genome.activation == "relu"),
        float(genome.activation == "tanh"),
        math.log2(genome.decide_every),
        math.log2(genome.cell + 1),
        math.log2(genome.studies),
    ]


class Predictor:
    """One figure of a genome; it is :attr:`ready` once it has seen :data:`FEWEST` candidates, unless it is of no use."""

    def __init__(self, ends: tuple[int, int], seed: int = 0) -> None:
        require("sklearn", "search")
        self.ends, self.seed = ends, seed
        self.backends: tuple[str, ...] = ()
        self.trust: Trust | None = None
        self._model: Any = None
        self._fitted = 0

    def fit(self, genomes: Sequence[Genome], values: Sequence[float]) -> None:
        """Learn from genomes and their measured values; the same ones again cost nothing."""
        if len(values) == self._fitted:
            return
        self._fitted = len(values)
        genomes, values = genomes[-MOST:], values[-MOST:]
        self.trust = self._model = None
        if len(values) < FEWEST:
            return
        self.backends = tuple(sorted({genome.backend for genome in genomes}))
        x, y = np.array([self._row(genome) for genome in genomes]), np.asarray(values, np.float64)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # a parameter at its bound says that there is nothing to learn, or no noise
            model = self._regression().fit(x, y)
            left_out, others = self._left_out(x, y)
        self.trust = Trust(len(y), float(np.abs(left_out - y).mean()), float(np.abs(others - y).mean()), _spearman(left_out, y))
        self._model = model

    @property
    def ready(self) -> bool:
        """Is there anything trustworthy to say?"""
        return self._model is not None and self.trust is not None and self.trust.used

    def predict(self, genomes: Sequence[Genome]) -> tuple[np.ndarray, np.ndarray]:
        """(expected, standard deviation), float64 [n] each; only where it is :attr:`ready`."""
        assert self._model is not None
        mean, spread = self._model.predict(np.array([self._row(genome) for genome in genomes]), return_std=True)
        return mean, spread

    def _row(self, genome: Genome) -> list[float]:
        return features(genome, self.ends) + [float(genome.backend == name) for name in self.backends]

    def _regression(self) -> Any:
        from sklearn.gaussian_process import GaussianProcessRegressor
        from sklearn.gaussian_process.kernels import RBF, ConstantKernel, DotProduct, WhiteKernel
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        # A plane through the features and a bend in it, of one length scale for all: with one each, a dozen candidates of pure
        # noise are "predicted".
        plane = ConstantKernel(0.05, (1e-4, 1.0)) * DotProduct(1.0, "fixed")
        kernel = plane + ConstantKernel() * RBF(4.0, (1.0, 1e3)) + WhiteKernel(0.1, (1e-4, 1e1))
        return make_pipeline(StandardScaler(), GaussianProcessRegressor(kernel, normalize_y=True, random_state=self.seed))

    def _left_out(self, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """For each candidate what a model says that was tuned and fitted without it, and the mean of what that one saw."""
        found, means = np.empty_like(y), np.empty_like(y)
        fold = np.arange(len(y)) % FOLDS
        for index in range(FOLDS):
            rest, out = fold != index, fold == index
            found[out], means[out] = self._regression().fit(x[rest], y[rest]).predict(x[out]), y[rest].mean()
        return found, means


def _spearman(one: np.ndarray, other: np.ndarray) -> float | None:
    if np.ptp(one) == 0 or np.ptp(other) == 0:
        return None
    from scipy.stats import spearmanr

    return float(spearmanr(one, other).statistic)
