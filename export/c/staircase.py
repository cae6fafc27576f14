"""An activation that ends on a grid of a few hundred levels is a staircase: tables that find the level of any input.

Inputs z are integers v = (z - origin) / unit. They are cut into cells of 2^bits units, narrow enough that no cell holds
more than one edge of the staircase. ``base[v >> bits]`` is the level at the start of the cell, and one comparison with the
next edge finishes: exact for every v, without floating point. Odd functions on symmetric levels keep only z >= 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from .graph import Node

MAX_CELLS = 2048
"""A function whose steepest step is this many times narrower than its range is left to floating point."""
FARTHEST = 1e9
"""Stands for infinity."""


@dataclass(frozen=True)
class Grid:
    """Numbers (q - zero) * scale for integers q in [low, high]."""

    scale: float
    """Step, a float32."""
    zero: int
    """The q that stands for 0."""
    low: int
    """Smallest q."""
    high: int
    """Largest q."""


@dataclass(frozen=True, eq=False)
class Staircase:
    """The tables of one activation on one grid."""

    unit: float
    """z per unit of v."""
    origin: float
    """The z at which v = 0."""
    bits: int
    """2^bits units of v are a cell."""
    mirrored: bool
    """True: tables hold v >= 0 only; below, the level is that of -v with the sign changed."""
    base: np.ndarray
    """uint8 [cells]: steps climbed at the start of the cell; v beyond either end counts to the nearest cell."""
    edges: np.ndarray
    """int32 [steps]: v > edges[k] has climbed step k."""
    first: int
    """q of the lowest level (mirrored: of the level around z = 0, which is the grid's zero)."""

    @property
    def table_bytes(self) -> int:
        """Flash."""
        return self.base.nbytes + self.edges.nbytes

    def level(self, v: np.ndarray) -> np.ndarray:
        """q of integers v: what the C code computes, in numpy."""
        v = np.asarray(v, np.int64)
        size = np.abs(v) if self.mirrored else v
        climbed = self.base[np.clip(size >> self.bits, 0, len(self.base) - 1)].astype(np.int64)
        climbed += size > self.edges[climbed]
        return self.first + np.where(v < 0, -climbed, climbed) if self.mirrored else self.first + climbed


Function = Callable[[np.ndarray, float], np.ndarray]
FUNCTIONS: dict[str, tuple[Function, float, bool]] = {
    "Tanh": (lambda z, _: np.tanh(z), 0.0, True),
    "Sigmoid": (lambda z, _: 0.5 * (1.0 + np.tanh(0.5 * z)), 0.0, False),
    "Softsign": (lambda z, _: z / (1.0 + np.abs(z)), 0.0, True),
    "Elu": (lambda z, alpha: np.where(z > 0, z, alpha * np.expm1(np.minimum(z, 0.0))), 1.0, False),
    "LeakyRelu": (lambda z, alpha: np.where(z > 0, z, alpha * z), 0.01, False),
}
"""ONNX operator -> (the function in float64, default of its alpha, is it odd); all rise where alpha is not negative."""


def function_of(node: Node) -> tuple[Function, float, bool] | None:
    """(function, alpha, odd) of a rising activation, or None for another operator."""
    if node.op not in FUNCTIONS:
        return None
    function, default, odd = FUNCTIONS[node.op]
    alpha = float(node.attributes.get("alpha", default))
    return (function, alpha, odd) if alpha >= 0 else None


def staircase(node: Node, grid: Grid, bits: int) -> Staircase | None:
    """The tables of ``node`` on ``grid``; None for a function that does not rise, has no edge, or needs too many cells."""
    found = function_of(node)
    return None if found is None else _tables(node.op, found[1], grid, bits)


@lru_cache(maxsize=64)
def _tables(op: str, alpha: float, grid: Grid, bits: int) -> Staircase | None:
    function, _, odd = FUNCTIONS[op]
    ends = np.array([-FARTHEST, FARTHEST])
    bottom, top = (int(q) for q in np.clip(np.round(function(ends, alpha) / grid.scale) + grid.zero, grid.low, grid.high))
    if top - bottom < 1 or top - bottom > 255:
        return None
    mirrored = odd and top - grid.zero == grid.zero - bottom
    climbs = np.arange(grid.zero if mirrored else bottom, top) + 0.5
    places = _places(function, alpha, (climbs - grid.zero) * grid.scale)
    gaps = np.diff(places)
    narrowest = float(gaps.min()) if gaps.size else float(grid.scale)
    if narrowest <= 0:
        return None
    if mirrored:
        narrowest = min(narrowest, 2.0 * float(places[0]))
    unit = narrowest / ((1 << bits) + 2)
    origin = 0.0 if mirrored else float(places[0]) - narrowest
    edges = np.ceil((places - origin) / unit).astype(np.int64)
    cells = int(edges[-1] >> bits) + 1
    if cells > MAX_CELLS:
        return None
    base = np.searchsorted(edges, np.arange(cells, dtype=np.int64) << bits, side="left")
    # v > edge - 1 is v >= edge.
    first = grid.zero if mirrored else bottom
    return Staircase(unit, origin, bits, mirrored, base.astype(np.uint8), (edges - 1).astype(np.int32), first)


def _places(function: Function, alpha: float, heights: np.ndarray) -> np.ndarray:
    """The z at which the function reaches each height, by bisection down to neighboring doubles."""
    low, high = np.full(heights.shape, -FARTHEST), np.full(heights.shape, FARTHEST)
    for _ in range(90):
        middle = 0.5 * (low + high)
        above = function(middle, alpha) >= heights
        high, low = np.where(above, middle, high), np.where(above, low, middle)
    return high
