"""Units taken out one after the other, each time the one that the others can best stand in for."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..policy.layers import Weights
from .reconstruct import ridged
from .units import Group, columns


def elimination_scores(group: Group, weights: Weights, heard: Mapping[str, np.ndarray]) -> np.ndarray:
    """What the error in the next layers had grown to (root of the squared error) when each unit left, float64 [size].

    Optimal Brain Surgeon (Hassibi and Stork 1993) for whole columns: with the covariance C of what the units give, the
    least-squares readers W lose tr(W_j ((C^-1)_jj)^-1 W_j^T) with unit j, after which W and C^-1 are updated in closed
    form; exact for a linear reader, greedy in the order. The last unit left scores highest. Matrices that read the same
    units (a cell's own and the next layer's) are read as one, with the covariance that the last one hears.
    """
    last = group.readers[-1]
    units = np.arange(group.size)
    where = {reader: columns(group, reader, units) for reader in group.readers}
    x = heard[last.weight][:, where[last]].astype(np.float64)
    x = x - x.mean(axis=0)
    inverse = np.linalg.inv(ridged(x.T @ x / len(x)))
    blocks = last.blocks
    readers = [weights[reader.weight][:, where[reader]] for reader in group.readers if reader.blocks == blocks]
    readers += [np.tile(weights[r.weight][:, where[r]], (1, blocks)) / blocks for r in group.readers if r.blocks != blocks]
    matrix = np.concatenate(readers).astype(np.float64)
    scores, error, present = np.zeros(group.size), 0.0, np.ones(group.size, bool)
    for _ in units:
        costs = _costs(matrix, inverse, group.size, blocks)
        unit = int(np.argmin(np.where(present, costs, np.inf)))
        error += float(costs[unit])
        scores[unit], present[unit] = np.sqrt(error), False
        gone = np.arange(blocks) * group.size + unit
        gain = np.linalg.solve(inverse[np.ix_(gone, gone)], inverse[gone])
        matrix = matrix - matrix[:, gone] @ gain
        inverse = inverse - inverse[:, gone] @ gain
        matrix[:, gone] = 0.0
        inverse[gone, :] = inverse[:, gone] = 0.0
        inverse[gone, gone] = 1.0  # keeps later divisions defined; a unit that has left costs nothing and is not asked
    return scores


def _costs(matrix: np.ndarray, inverse: np.ndarray, size: int, blocks: int) -> np.ndarray:
    """What taking out each unit adds to the mean squared error [size]."""
    if blocks == 1:
        return np.asarray((matrix**2).sum(axis=0) / np.diag(inverse))
    index = np.arange(blocks)[:, None] * size + np.arange(size)  # [blocks, size]
    own = inverse[index[:, None], index[None]].transpose(2, 0, 1)  # [size, blocks, blocks]
    columns_of = matrix[:, index].transpose(2, 1, 0)  # [size, blocks, rows]
    return np.asarray((columns_of * np.linalg.solve(own, columns_of)).sum(axis=(1, 2)))
