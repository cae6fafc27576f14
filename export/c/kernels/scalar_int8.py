"""Dense with int8 weights and float inputs, for processors without vector registers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..machine import Machine
from .blocks import cut, pack, runs
from .finish import finish
from .layer import DenseLayer
from .together import multiply_add

if TYPE_CHECKING:
    from ..operators.operator import Scope

WIDTHS = (8, 4, 3, 2, 1)


class ScalarInt8:
    """Sums of float(weight) * input in the order of the plain loop, scaled at the end."""

    name = "dense int8 weights"

    def cost(self, layer: DenseLayer, machine: Machine) -> float | None:
        if machine.vectors or layer.scale is None:
            return None
        if machine.fpu:
            return 7.75 * layer.weight.size + 20.0 * layer.rows
        # As for float weights, and each must become a float first.
        return 366.0 * layer.live + 224.0 * (layer.weight.size - layer.live) + 20.0 * layer.rows

    def table_bytes(self, layer: DenseLayer, machine: Machine) -> int:
        return layer.weight.nbytes + 8 * layer.rows + 200

    def print(self, layer: DenseLayer, scope: Scope) -> list[str]:
        assert layer.scale is not None
        blocks = cut(layer.rows, WIDTHS)
        packed = np.concatenate([pack(layer.weight, start, width) for start, width in blocks])
        rows, columns = layer.weight.shape
        weight = scope.table(layer.name, packed, f"{rows} x {columns}, by blocks of outputs: [block][input][output of the block]")
        bias = scope.table(f"{layer.name}_bias", layer.bias, f"{rows} values")
        scale = scope.table(f"{layer.name}_scale", layer.scale, f"{rows} values")
        lines = [f"const int8_t *w = {weight};"]
        for start, width, count in runs(blocks):
            lines += _block(layer, scope, start, start + width * count, width, bias, scale)
        return lines


def _block(layer: DenseLayer, scope: Scope, start: int, stop: int, width: int, bias: str, scale: str) -> list[str]:
    rows = range(width)
    begin = ", ".join(f"s{k} = 0.0f" for k in rows)
    add = multiply_add(scope, [(f"(float)w[{k}]", "*in") for k in rows], [f"s{k}" for k in rows])
    end = []
    for k in rows:
        end.append(f"s{k} = {bias}[o + {k}] + {scale}[o + {k}] * s{k};")
        end.append(f"y[o + {k}] = {finish(layer, scope, f's{k}')};")
    return [
        f"for (int o = {start}; o < {stop}; o += {width}) {{",
        f"  float {begin};",
        "  const float *in = x;",
        f"  for (int n = {layer.columns}; n > 0; --n, ++in, w += {width}) {{ {add} }}",
        *(f"  {line}" for line in end),
        "}",
    ]
