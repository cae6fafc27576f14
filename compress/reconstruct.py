"""Least squares: what is left of a layer's inputs takes over what the removed ones gave."""

from __future__ import annotations

import numpy as np

from ..policy.layers import Weights

RIDGE = 1e-4
"""Share of the mean input variance added to every direction: how far the weights may move for what was rarely recorded."""


def refit(weights: Weights, weight: str, bias: str, inputs: np.ndarray, target: np.ndarray) -> Weights:
    """Weights in which W x + b is closest to the ``target`` [T, rows] over the ``inputs`` x [T, columns].

    Ridge regression around the present values (He et al. 2017, arXiv 1707.06168, section 3.1, where the loss is the same),
    in float64. Entries that are zero stay zero. A layer without a bias (no tensor ``bias``) keeps none.
    """
    matrix = weights[weight].astype(np.float64)
    x = inputs.astype(np.float64)
    x_mean = x.mean(axis=0) if bias in weights else np.zeros(x.shape[1])
    offset = weights[bias].astype(np.float64) if bias in weights else 0.0
    error = target - (x @ matrix.T + offset)
    error_mean = error.mean(axis=0) if bias in weights else np.zeros(len(matrix))
    centred = x - x_mean
    moment = centred.T @ centred / len(x)
    moment[np.diag_indices_from(moment)] += RIDGE * np.trace(moment) / len(moment) + 1e-12
    slope = (centred.T @ (error - error_mean) / len(x)).T
    support = matrix != 0
    if support.all():
        change = np.linalg.solve(moment, slope.T).T
    else:
        change = np.zeros_like(matrix)
        for row, free in enumerate(support):
            if free.any():
                change[row, free] = np.linalg.solve(moment[np.ix_(free, free)], slope[row, free])
    new: Weights = weights | {weight: (matrix + change).astype(np.float32)}
    if bias in weights:
        new[bias] = (offset + error_mean - change @ x_mean).astype(np.float32)
    return new
