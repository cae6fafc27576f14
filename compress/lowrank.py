"""Decompositions of a matrix whose terms can be cut anywhere, the ranks that pay, and policies in such factors."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from ..errors import BadInput
from ..policy import Policy
from ..policy.cells import GRU, LSTM, cell_matrices
from ..policy.layers import Layer, Layers, Linear, TiedLinear, Weights
from ..targets.profile import near

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
    minimizes the error of W x over the recorded x instead of the error of W (data-aware low rank). Columns of zeros stay zero.
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
    right = np.linalg.solve(root.T, (share[:, None] * vt).T).T
    right[:, ~weight.any(axis=0)] = 0.0  # an input that nobody reads stays unread, where rounding would leave 1e-17
    return Factors(u * share, right, s**2)


def rank_for_energy(energy: np.ndarray, share: float) -> int:
    """Smallest rank whose first terms hold ``share`` of the total energy (squared singular values, falling)."""
    total = energy.sum()
    if total == 0:
        return 1
    return min(int(np.searchsorted(np.cumsum(energy) / total, share - 1e-12)) + 1, len(energy))


def largest_useful_rank(rows: int, columns: int) -> int:
    """Largest r with r * (rows + columns) < rows * columns; 0 where no rank makes the matrix smaller."""
    return (rows * columns - 1) // (rows + columns)


def splittable(layers: Layers) -> dict[str, tuple[int, int]]:
    """Full names of the matrices that may be two thin ones -> (rows, columns): those of linear layers, GRU and LSTM cells.

    Not a weight that another layer uses, too, and not what is in factors already.
    """
    shared = {layer.like for layer in layers if isinstance(layer, TiedLinear)}
    found: dict[str, tuple[int, int]] = {}
    for layer in layers:
        if isinstance(layer, Linear) and layer.name not in shared:
            found[f"{layer.name}.weight"] = (layer.out_size, layer.in_size)
        elif isinstance(layer, GRU | LSTM):
            whole = {"weight_ih": layer.rank_ih is None, "weight_hh": layer.rank_hh is None}
            shapes = cell_matrices(layer)
            found |= {f"{layer.name}.{part}": shapes[f"{layer.name}.{part}"] for part, is_whole in whole.items() if is_whole}
    return found


def chosen_matrices(where: str, layers: Layers, names: Sequence[str]) -> dict[str, tuple[int, int]]:
    """Those of the named layers, or all. Raises BadInput for a name that none of them has."""
    every = splittable(layers)
    owners = list(dict.fromkeys(matrix.rpartition(".")[0] for matrix in every))
    for name in names:
        if name not in owners:
            raise BadInput(where, expected="names of linear layers or cells", found=repr(name), repair=near(name, owners))
    return {matrix: shape for matrix, shape in every.items() if not names or matrix.rpartition(".")[0] in names}


def split(policy: Policy, halves: Mapping[str, tuple[np.ndarray, np.ndarray]]) -> Policy:
    """The policy with matrices (by full name) in two: (U [rows, r], V [r, columns]).

    A linear layer becomes NAME_v and then NAME_u, which has the bias; a cell keeps both factors inside.
    """
    layers: list[Layer] = []
    weights: Weights = dict(policy.weights)
    taken = {layer.name for layer in policy.layers if hasattr(layer, "name")}
    for layer in policy.layers:
        if isinstance(layer, GRU | LSTM):
            ranks: dict[str, Any] = {}
            for part in ("ih", "hh"):
                full = f"{layer.name}.weight_{part}"
                if full in halves:
                    del weights[full]
                    weights[f"{full}_u"], weights[f"{full}_v"] = halves[full]
                    ranks[f"rank_{part}"] = len(halves[full][1])
            layers.append(dataclasses.replace(layer, **ranks))
            continue
        if not isinstance(layer, Linear) or f"{layer.name}.weight" not in halves:
            layers.append(layer)
            continue
        first, second = _free(f"{layer.name[:60]}_v", taken), _free(f"{layer.name[:60]}_u", taken)
        left, right = halves[f"{layer.name}.weight"]
        del weights[f"{layer.name}.weight"]
        weights[f"{first}.weight"], weights[f"{second}.weight"] = right, left
        if layer.bias:
            weights[f"{second}.bias"] = weights.pop(f"{layer.name}.bias")
        layers += [
            Linear(first, layer.in_size, len(right), bias=False),
            dataclasses.replace(layer, name=second, in_size=len(right)),
        ]
    return policy.replace(layers=tuple(layers), weights=weights, golden=None)


def _free(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    taken.add(name)
    return name
