"""Dense, for processors without vector registers: the rows of a block share every load of an input."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..machine import Machine
from .blocks import cut, pack, runs
from .finish import finish
from .layer import DenseLayer

if TYPE_CHECKING:
    from ..operators.operator import Scope

WIDTHS = (8, 4, 3, 2, 1)
"""On a Cortex-M4F (17-64-64-6, tanh, clang) blocks of 4, 8 and 16 take 24 581, 23 673 and 23 375 instructions."""


class Scalar:
    """Sums in the order of the plain loop, in single floats."""

    name = "dense"

    def cost(self, layer: DenseLayer, machine: Machine) -> float | None:
        if machine.vectors:
            return None
        per_weight = 4.5 if machine.fpu else 130.0
        return per_weight * layer.weight.size + 20.0 * layer.rows

    def table_bytes(self, layer: DenseLayer, machine: Machine) -> int:
        return layer.weight.nbytes + 4 * layer.rows * (1 if layer.scale is None else 2) + 150

    def print(self, layer: DenseLayer, scope: Scope) -> list[str]:
        blocks = cut(layer.rows, WIDTHS)
        packed = np.concatenate([pack(layer.weight, start, width) for start, width in blocks])
        rows, columns = layer.weight.shape
        weight = scope.table(layer.name, packed, f"{rows} x {columns}, by blocks of outputs: [block][input][output of the block]")
        bias = scope.table(f"{layer.name}_bias", layer.bias, f"{rows} values")
        scale = None if layer.scale is None else scope.table(f"{layer.name}_scale", layer.scale, f"{rows} values")
        lines = [f"const {'float' if scale is None else 'int8_t'} *w = {weight};"]
        for start, width, count in runs(blocks):
            lines += _block(layer, scope, start, start + width * count, width, bias, scale)
        return lines


def _block(layer: DenseLayer, scope: Scope, start: int, stop: int, width: int, bias: str, scale: str | None) -> list[str]:
    rows = range(width)
    cast = "(float)" if scale else ""
    begin = ", ".join(f"s{k} = " + ("0.0f" if scale else f"{bias}[o + {k}]") for k in rows)
    add = " ".join(f"s{k} += {cast}w[{k}] * x[i];" for k in rows)
    end = []
    for k in rows:
        if scale:
            end.append(f"s{k} = {bias}[o + {k}] + {scale}[o + {k}] * s{k};")
        end.append(f"y[o + {k}] = {finish(layer, scope, f's{k}')};")
    return [
        f"for (int o = {start}; o < {stop}; o += {width}) {{",
        f"  float {begin};",
        f"  for (int i = 0; i < {layer.columns}; ++i, w += {width}) {{ {add} }}",
        *(f"  {line}" for line in end),
        "}",
    ]
