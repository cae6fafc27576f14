"""What a dense layer on integers computes, apart from how: grids, how their values are stored, and how sums become results."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..graph import Kind
from ..machine import Machine
from ..staircase import Grid, Staircase
from .matrix import Matrix


@dataclass(frozen=True)
class Storage:
    """How a value on a grid lies in memory: the entry is q - origin."""

    kind: Kind
    """C type of an entry."""
    origin: int
    """The integer q of the grid that is stored as 0."""
    unsigned: bool
    """Entries are read as if their type were unsigned."""

    def limits(self, grid: Grid) -> tuple[int, int]:
        """Smallest and largest entry of values on ``grid``."""
        return grid.low - self.origin, grid.high - self.origin


def storage(grid: Grid, machine: Machine) -> Storage:
    """How values on ``grid`` are stored on ``machine``: as its kernels multiply them."""
    wide = grid.high - grid.low > 255
    if machine.vectors:
        if not wide and machine.int8_dot == "vnni":
            return Storage("int8_t", grid.low, True)
        if not wide and machine.int8_dot == "sdot":
            return Storage("int8_t", grid.low + 128, False)
    return Storage("int16_t", grid.low + (1 << 15) if wide else grid.zero, False)


@dataclass(frozen=True)
class FixedPoint:
    """v = (sum * multiplier >> shift) + offset: sums as integers in the unit of a table or of an output grid."""

    multiplier: np.ndarray
    """int32 [rows], below 2^30 in size."""
    offset: np.ndarray
    """int32 [rows]."""
    shift: int
    """16 to 31."""
    step_bits: int
    """2^step_bits units of v are one cell of the staircase, or one step of the output grid."""
    error_steps: float
    """Bound on what rounding the numbers above moves v by, in steps of the output grid at the steepest place."""


@dataclass(frozen=True)
class IntegerLayer(Matrix):
    """z[o] = bias[o] + scale[o] * sum_i weight[o][i] * x[i] for stored integers x; then float z, or integers y on ``grid``."""

    name: str
    """Name of the weights."""
    weight: np.ndarray
    """int8 [out, in]."""
    scale: np.ndarray
    """float64 [out]: step of the row's weights times step of the input grid."""
    bias: np.ndarray
    """float64 [out]: of the layer, with the input's zero point and origin taken in."""
    inputs: Storage
    """How x is stored."""
    grid_in: Grid
    """The grid of x."""
    fixed: FixedPoint | None = None
    """How z becomes y in integers; None: in floats, which only vector kernels do."""
    grid: Grid | None = None
    """The grid of y; None: z is the result, as float."""
    outputs: Storage | None = None
    """How y is stored."""
    stairs: Staircase | None = None
    """The activation as a table; None with ``fixed``: y is z rounded to the grid."""
    function: str = ""
    """Without ``fixed``: the ONNX operator of the activation before the grid, if any (kernels.int8_vector.FUNCTIONS)."""
    limits: tuple[int, int] = (0, 0)
    """Without stairs: smallest and largest q, where a ReLU or Clip narrows the grid."""

    @property
    def largest_sum(self) -> np.ndarray:
        """int64 [out]: bound on the size of the sum."""
        low, high = self.inputs.limits(self.grid_in)
        wide = self.weight.astype(np.int64)
        above = np.maximum(wide * low, wide * high).sum(axis=1)
        below = np.minimum(wide * low, wide * high).sum(axis=1)
        return np.maximum(above, -below)


def fixed_point(layer: IntegerLayer, unit: float, origin: float, step_bits: int) -> FixedPoint | None:
    """v = (z - origin) / unit in integers; None where it would leave 31 bits."""
    ratio, base = layer.scale / unit, (layer.bias - origin) / unit
    largest = layer.largest_sum
    if not (np.abs(base) + largest * ratio + 4 < 2.0**30).all() or not (largest < 1 << 30).all():
        return None
    most = float(ratio.max())
    shift = int(np.clip(np.floor(np.log2((2.0**30 - 1) / most)), 0, 31)) if most > 0 else 31
    if shift < 16 or (largest >= 1 << shift - 1).any():
        return None
    multiplier = np.round(ratio * 2.0**shift).astype(np.int64)
    # v is cut down to an integer: half a unit centres that.
    offset = np.floor(base + 0.5).astype(np.int64)
    error = 1.0 + float((0.5 * largest / 2.0**shift).max())
    return FixedPoint(multiplier.astype(np.int32), offset.astype(np.int32), shift, step_bits, error / 2.0**step_bits)
