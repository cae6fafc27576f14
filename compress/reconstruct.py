"""Least squares: what is left of a layer's inputs takes over what the removed ones gave."""

from __future__ import annotations

import numpy as np

from ..policy import Golden, Policy
from ..policy.layers import Weights
from .matrices import prunable
from .signals import matrix_inputs

RIDGE = 1e-4
"""Share of the mean input variance added to every direction: how far the weights may move for what was rarely recorded."""


def ridged(moment: np.ndarray) -> np.ndarray:
    """A second moment or covariance [n, n] with a little more on its diagonal."""
    return moment + (RIDGE * np.trace(moment) / len(moment) + 1e-12) * np.eye(len(moment))


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
    moment = ridged(centred.T @ centred / len(x))
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


def refitted(policy: Policy, like: Policy, golden: Golden) -> Policy:
    """``policy`` with all its matrices fitted, in order, to what those of ``like`` (the same layers) give on the rollout.

    A layer is fitted to the inputs that the layers before it, fitted already, send; what reads a cell's own state is fitted to
    the states of ``like``, because the cell's own errors must not become its lesson. Zeros stay.
    """
    heard = matrix_inputs(like, golden)
    weights = dict(policy.weights)
    for name in prunable(policy.layers):
        bias = bias_of(name)
        gave = heard[name] @ like.weights[name].T + like.weights.get(bias, np.float32(0))
        own = name.endswith((".weight_hh", ".weight_hh_v"))
        inputs = heard[name] if own else matrix_inputs(policy.replace(weights=weights), golden)[name]
        weights = refit(weights, name, bias, inputs, gave)
    return policy.replace(weights=weights, golden=None)


def bias_of(matrix: str) -> str:
    """Name of the bias that is added to what a matrix of a linear layer or a cell gives; "" for the inner one of two factors."""
    layer, _, tensor = matrix.rpartition(".")
    if tensor in ("weight_ih_v", "weight_hh_v"):
        return ""
    return f"{layer}.{tensor.replace('weight', 'bias').removesuffix('_u')}"
