"""Sparse, by rows: only the weights that are not zero are stored, each with the index of its input."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..machine import Machine
from .finish import finish
from .indices import c_type, small
from .layer import DenseLayer

if TYPE_CHECKING:
    from ..operators.operator import Scope

UNROLL = 4
"""Weights per round of the inner loop."""


class Csr:
    """Sums in the order of the plain loop without the zeros."""

    name = "csr"

    def cost(self, layer: DenseLayer, machine: Machine) -> float | None:
        if not layer.live or layer.columns > 65536:
            return None
        per_weight, per_row = (1.6, 12.0) if machine.vectors else (12.0, 24.0) if machine.fpu else (145.0, 40.0)
        return per_weight * layer.live + per_row * layer.rows

    def table_bytes(self, layer: DenseLayer, machine: Machine) -> int:
        index = 1 if layer.columns <= 256 else 2
        scale = 0 if layer.scale is None else 4
        return layer.live * (layer.weight.itemsize + index) + layer.rows * (5 + scale) + 120

    def print(self, layer: DenseLayer, scope: Scope) -> list[str]:
        rows, columns = np.nonzero(layer.weight)
        weight = layer.weight[rows, columns]
        at, count = small(columns), small(np.bincount(rows, minlength=layer.rows))
        names = {
            "w": (weight, scope.table(layer.name, weight, f"{layer.rows} x {layer.columns}, {layer.live} weights that are not zero")),
            "at": (at, scope.table(f"{layer.name}_inputs", at, "the input of each weight")),
        }
        counts = scope.table(f"{layer.name}_counts", count, "weights of each output")
        bias = scope.table(f"{layer.name}_bias", layer.bias, f"{layer.rows} values")
        cast = "" if layer.scale is None else "(float)"
        start, end = f"{bias}[o]", "s"
        if layer.scale is not None:
            scale = scope.table(f"{layer.name}_scale", layer.scale, f"{layer.rows} values")
            start, end = "0.0f", f"{bias}[o] + {scale}[o] * s"
        unrolled = " ".join(f"s += {cast}w[{k}] * x[at[{k}]];" for k in range(UNROLL))
        return [
            *(f"const {c_type(array)} *{pointer} = {table};" for pointer, (array, table) in names.items()),
            f"for (int o = 0; o < {layer.rows}; ++o) {{",
            f"  int n = {counts}[o];",
            f"  float s = {start};",
            f"  for (; n >= {UNROLL}; n -= {UNROLL}, w += {UNROLL}, at += {UNROLL}) {{ {unrolled} }}",
            f"  for (; n > 0; --n) s += {cast}*w++ * x[*at++];",
            *([] if end == "s" else [f"  s = {end};"]),
            f"  y[o] = {finish(layer, scope, 's')};",
            "}",
        ]
