"""Decompositions of a kernel as a tensor: Tucker-2 by higher-order orthogonal iteration, CP by alternating least squares.

A kernel is [out, rows, columns, in]. Tucker-2 (De Lathauwer et al. 2000; for convolutions Kim et al. 2016, arXiv 1511.06530)
keeps the two small axes whole and finds few directions of the two large ones. CP (Harshman 1970; for convolutions Lebedev
et al. 2015, arXiv 1412.6553) is a sum of products of one vector per axis.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from .reconstruct import ridged

SWEEPS, ENOUGH = 100, 1e-6
"""Alternations end after so many, or once the error's share of the whole falls by less than this."""
RIDGE = 1e-9
"""Of a factor's own size: keeps two CP components that cancel each other from growing without bound."""


class Tucker(NamedTuple):
    """kernel[o, a, i] ~ sum over p, q of left[o, p] core[p, a, q] right[q, i]; the axis a runs over rows and columns."""

    left: np.ndarray
    """float64 [out, r_out], orthonormal columns."""
    core: np.ndarray
    """float64 [r_out, area, r_in]."""
    right: np.ndarray
    """float64 [r_in, in]."""

    def whole(self) -> np.ndarray:
        """float64 [out, area, in]."""
        return np.einsum("op,paq,qi->oai", self.left, self.core, self.right, optimize=True)


class Cp(NamedTuple):
    """kernel[o, y, x, i] ~ sum over r of out[o, r] down[y, r] across[x, r] in_[i, r]."""

    out: np.ndarray
    down: np.ndarray
    across: np.ndarray
    in_: np.ndarray

    def whole(self) -> np.ndarray:
        """float64 [out, rows, columns, in]."""
        return np.einsum("or,yr,xr,ir->oyxi", *self, optimize=True)


def channel_root(inputs: np.ndarray, channels: int) -> np.ndarray:
    """L [in, in] with L L^T = the second moment of a pixel, over recorded patches [N, area * in] and all their taps.

    An error of the kernel times L is about an error of its outputs: exactly so if taps were independent and alike.
    """
    x = inputs.reshape(-1, channels).astype(np.float64)
    return np.asarray(np.linalg.cholesky(ridged(x.T @ x / len(x))))


def spectra(kernel: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Squared singular values, falling, of the unfoldings of [out, area, in] along out and along in (HOSVD)."""
    along_out = np.linalg.svd(kernel.reshape(len(kernel), -1), compute_uv=False)
    along_in = np.linalg.svd(np.moveaxis(kernel, 2, 0).reshape(kernel.shape[2], -1), compute_uv=False)
    return along_out**2, along_in**2


def truncation_errors(kernel: np.ndarray) -> np.ndarray:
    """Squared error, as a share of the whole, of [out, area, in] truncated to its first r_out and r_in directions (HOSVD).

    [out, in], for ranks r_out = row + 1 and r_in = column + 1: exact for the truncation, an upper bound for the iteration that
    begins there.
    """
    left = _leading(kernel.reshape(len(kernel), -1), len(kernel))
    right = _leading(np.moveaxis(kernel, 2, 0).reshape(kernel.shape[2], -1), kernel.shape[2])
    core = np.einsum("op,oai,iq->paq", left, kernel, right, optimize=True)
    kept = np.cumsum(np.cumsum((core**2).sum(axis=1), axis=0), axis=1)
    errors: np.ndarray = np.maximum(0.0, 1 - kept / max(float(kept[-1, -1]), 1e-300))
    return errors


def decompose_tucker(kernel: np.ndarray, rank_out: int, rank_in: int, root: np.ndarray | None = None) -> Tucker:
    """The best that alternation finds for float64 [out, area, in]; exact at full ranks.

    ``root`` (:func:`channel_root`): the error of the outputs counts in place of the kernel's.
    """
    wide = kernel if root is None else kernel @ root
    right = _leading(np.moveaxis(wide, 2, 0).reshape(wide.shape[2], -1), rank_in)
    left = _leading(wide.reshape(len(wide), -1), rank_out)
    error = np.inf
    for _ in range(SWEEPS):
        left = _leading((wide @ right).reshape(len(wide), -1), rank_out)
        right = _leading(np.einsum("op,oai->ipa", left, wide, optimize=True).reshape(wide.shape[2], -1), rank_in)
        core = np.einsum("op,oai,iq->paq", left, wide, right, optimize=True)
        # left and right are orthonormal: what the core does not hold is the error.
        left_over = max(0.0, 1 - float((core**2).sum()) / max(float((wide**2).sum()), 1e-300))
        if error - left_over < ENOUGH:
            break
        error = left_over
    back = right.T if root is None else np.linalg.solve(root.T, right).T
    return Tucker(left, core, back)


def _leading(matrix: np.ndarray, count: int) -> np.ndarray:
    """The first left singular vectors, [rows, count]."""
    return np.linalg.svd(matrix, full_matrices=False)[0][:, :count] if count <= min(matrix.shape) else _completed(matrix, count)


def _completed(matrix: np.ndarray, count: int) -> np.ndarray:
    """The same where the matrix has fewer columns than are asked for: any orthonormal ones fill up."""
    return np.linalg.svd(matrix, full_matrices=True)[0][:, :count]


def decompose_cp(
    kernel: np.ndarray, rank: int, starts: int, seed: int, root: np.ndarray | None = None, sweeps: int = SWEEPS
) -> Cp:
    """The best of ``starts`` alternating least squares for float64 [out, rows, columns, in].

    The first one begins at the leading singular vectors of the unfoldings, the others at random. ``root``: as in
    :func:`decompose_tucker`; ``sweeps``: most alternations.
    """
    wide = kernel if root is None else kernel @ root
    random = np.random.default_rng(seed)
    found = [_als(wide, _begin(wide, rank, random, number == 0), sweeps) for number in range(starts)]
    factors, _ = min(found, key=lambda entry: entry[1])
    if root is not None:
        factors[3] = np.linalg.solve(root.T, factors[3])
    return _balanced(factors)


def _begin(wide: np.ndarray, rank: int, random: np.random.Generator, singular: bool) -> list[np.ndarray]:
    factors = [random.normal(size=(size, rank)) for size in wide.shape]
    if singular:
        for axis, factor in enumerate(factors):
            vectors = np.linalg.svd(np.moveaxis(wide, axis, 0).reshape(len(factor), -1), full_matrices=False)[0][:, :rank]
            factor[:, : vectors.shape[1]] = vectors
    return factors


def _als(wide: np.ndarray, factors: list[np.ndarray], sweeps: int) -> tuple[list[np.ndarray], float]:
    """(factors, squared error as a share of the whole)"""
    total, error = max(float((wide**2).sum()), 1e-300), np.inf
    unfolded = [np.moveaxis(wide, axis, 0).reshape(wide.shape[axis], -1) for axis in range(4)]
    for _ in range(sweeps):
        for axis in range(4):
            others = [factors[other] for other in range(4) if other != axis]
            gram = np.prod([other.T @ other for other in others], axis=0)
            gram += RIDGE * np.trace(gram) / len(gram) * np.eye(len(gram))
            products = np.einsum("ar,br,cr->abcr", *others).reshape(-1, gram.shape[0])
            factors[axis] = np.linalg.solve(gram, (unfolded[axis] @ products).T).T
        last = products @ factors[3].T
        now = float(((unfolded[3].T - last) ** 2).sum()) / total
        if error - now < ENOUGH:
            break
        error = now
    return factors, now


def _balanced(factors: list[np.ndarray]) -> Cp:
    """Every component's size spread evenly over its vectors, so that all of them quantize well."""
    norms = [np.maximum(np.linalg.norm(factor, axis=0), 1e-30) for factor in factors]
    even = np.prod(norms, axis=0) ** 0.25
    return Cp(*(factor / norm * even for factor, norm in zip(factors, norms, strict=True)))
