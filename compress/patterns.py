"""Which weights leave together: one by one, in blocks that a kernel skips whole, or n of every m."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from ..train.sparse.distribution import kept_by_layer, kept_in_all
from .matrices import Masks

Scope = Literal["global", "layer", "erdos-renyi"]
"""global: one ranking over all matrices; layer: the same sparsity in each; erdos-renyi: the share that a matrix [out, in]
keeps is proportional to (in + out) / (in * out), so that narrow layers stay dense (Evci et al. 2020, arXiv 1911.11134)."""


@dataclass(frozen=True)
class Tiles:
    """A matrix cut into tiles of rows x columns from its first entry on; those at the far edges may be smaller."""

    shape: tuple[int, int]
    """(out, in) of the matrix."""
    tile: tuple[int, int] = (1, 1)
    """(rows, columns) of a tile."""

    def __post_init__(self) -> None:
        if min(self.tile) < 1:
            raise ValueError(f"a tile has at least one row and one column, not {self.tile}")

    @property
    def grid(self) -> tuple[int, int]:
        """Tiles down and across."""
        (out, width), (rows, columns) = self.shape, self.tile
        return -(-out // rows), -(-width // columns)

    def totals(self, values: np.ndarray) -> np.ndarray:
        """Sum of the values [out, in] over each tile, float64 [tiles]."""
        rows, columns = self.tile
        down = np.add.reduceat(values.astype(np.float64), np.arange(0, self.shape[0], rows), axis=0)
        return np.asarray(np.add.reduceat(down, np.arange(0, self.shape[1], columns), axis=1)).ravel()

    def sizes(self) -> np.ndarray:
        """Entries of each tile, int [tiles]."""
        return self.totals(np.ones(self.shape)).astype(int)

    def spread(self, of_tile: np.ndarray) -> np.ndarray:
        """What each tile has, for each of its entries: [tiles] -> [out, in]."""
        rows, columns = self.tile
        wide = of_tile.reshape(self.grid).repeat(rows, axis=0).repeat(columns, axis=1)
        return np.asarray(wide[: self.shape[0], : self.shape[1]])


def magnitude_masks(
    weights: Mapping[str, np.ndarray], names: Sequence[str], sparsity: float, scope: Scope, tile: tuple[int, int] = (1, 1)
) -> Masks:
    """Masks that keep the tiles with the largest root mean square; single weights by default.

    The zeros are round(sparsity * n) in each group that is ranked, within half a tile, or those tiles that are all zero
    already if they are more. Equal ones leave in the order in which they stand.
    """
    tiles = {name: Tiles(weights[name].shape, tile) for name in names}  # type: ignore[arg-type]
    masks: Masks = {}
    for group, target in _targets(weights, names, sparsity, scope):
        sizes = np.concatenate([tiles[name].sizes() for name in group])
        score = np.sqrt(np.concatenate([tiles[name].totals(weights[name].astype(np.float64) ** 2) for name in group]) / sizes)
        order = np.argsort(score, kind="stable")
        gone = np.concatenate([[0], np.cumsum(sizes[order])])
        count = max(int(np.argmin(np.abs(gone - target))), int((score == 0).sum()))
        keep = np.ones(len(sizes), bool)
        keep[order[:count]] = False
        start = 0
        for name in group:
            end = start + tiles[name].grid[0] * tiles[name].grid[1]
            masks[name] = tiles[name].spread(keep[start:end])
            start = end
    return masks


def _targets(
    weights: Mapping[str, np.ndarray], names: Sequence[str], sparsity: float, scope: Scope
) -> list[tuple[list[str], int]]:
    """(matrices that are ranked together, zeros among them)."""
    sizes = [weights[name].size for name in names]
    if scope == "global":
        return [(list(names), round(sparsity * sum(sizes)))]
    if scope == "layer":
        return [([name], round(sparsity * size)) for name, size in zip(names, sizes, strict=True)]
    shapes = [(weights[name].shape[1], weights[name].shape[0]) for name in names]
    kept = kept_by_layer(shapes, kept_in_all(sizes, sparsity), "erdos-renyi")
    return [([name], size - stay) for name, size, stay in zip(names, sizes, kept, strict=True)]


def n_of_m_masks(weights: Mapping[str, np.ndarray], names: Sequence[str], n: float, m: int) -> Masks:
    """Masks that keep the n largest magnitudes of every m neighbours in a row; of a shorter rest, the same share, rounded."""
    masks: Masks = {}
    for name in names:
        magnitude = np.abs(weights[name])
        mask = np.zeros(magnitude.shape, bool)
        for begin in range(0, magnitude.shape[1], m):
            part = magnitude[:, begin : begin + m]
            keep = max(1, round(n * part.shape[1] / m))
            best = np.argsort(-part, axis=1, kind="stable")[:, :keep]
            np.put_along_axis(mask[:, begin : begin + m], best, True, axis=1)
        masks[name] = mask
    return masks
