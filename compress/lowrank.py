"""Decompositions of a matrix whose terms can be cut anywhere, and the ranks that pay."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ..policy.layers import Linear

RIDGE = 1e-4
"""Share of the mean input energy added to every input direction: directions that were never recorded still count a little."""


class Factors(NamedTuple):
    """A decomposition of W, cut anywhere: W = left @ right, most important rank first."""

    left: np.ndarray
    """float64 [out, k], k = min(out, in)."""
    right: np.ndarray
    """float64 [k, in]."""
    energy: np.ndarray
    """float64 [k], squared singular values in falling order."""

    def cut(self, rank: int) -> tuple[np.ndarray, np.ndarray]:
        """The first ``rank`` terms as float32 (U [out, rank], V [rank, in])."""
        return self.left[:, :rank].astype(np.float32), self.right[:rank].astype(np.float32)


def decompose(weight: np.ndarray, inputs: np.ndarray | None = None) -> Factors:
    """SVD of W [out, in], its singular values shared evenly between the factors so that both quantize well.

    With ``inputs`` [T, in], the SVD of W L with L L^T = the inputs' second moment, undone on the right: cutting it
    minimizes the error of W x over the recorded x instead of the error of W (data-aware low rank).
    """
    wide = weight.astype(np.float64)
    root = np.eye(wide.shape[1])
    if inputs is not None:
        x = inputs.astype(np.float64)
        moment = x.T @ x / len(x)
        ridge = RIDGE * np.trace(moment) / len(moment) + 1e-12
        root = np.linalg.cholesky(moment + ridge * np.eye(len(moment)))
    u, s, vt = np.linalg.svd(wide @ root, full_matrices=False)
    share = np.sqrt(s)
    return Factors(u * share, np.linalg.solve(root.T, (share[:, None] * vt).T).T, s**2)


def rank_for_energy(energy: np.ndarray, share: float) -> int:
    """Smallest rank whose first terms hold ``share`` of the total energy (squared singular values, falling)."""
    total = energy.sum()
    if total == 0:
        return 1
    return min(int(np.searchsorted(np.cumsum(energy) / total, share - 1e-12)) + 1, len(energy))


def largest_useful_rank(layer: Linear) -> int:
    """Largest r with r * (in + out) < in * out; 0 where no rank makes the layer smaller."""
    return (layer.in_size * layer.out_size - 1) // (layer.in_size + layer.out_size)
