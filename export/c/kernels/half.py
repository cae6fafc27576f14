"""Dense with float16 weights, for processors without vector registers: half the flash of float32, and the same arithmetic."""

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

WIDTHS = (8, 4, 2, 1)


class HalfScalar:
    """Sums in the order of the plain loop, in single floats; a block starts with its biases."""

    name = "dense, float16"

    def cost(self, layer: DenseLayer, machine: Machine) -> float | None:
        if machine.vectors or layer.bits != 16:
            return None
        return (5.1 if machine.fpu else 325.0) * layer.weight.size + 10.0 * layer.rows

    def table_bytes(self, layer: DenseLayer, machine: Machine) -> int:
        return layer.weight.nbytes + 4 * layer.rows + 250

    def print(self, layer: DenseLayer, scope: Scope) -> list[str]:
        blocks = cut(layer.rows, WIDTHS)
        packed = np.concatenate([pack(layer.weight, start, width) for start, width in blocks]).view(np.uint16)
        rows, columns = layer.weight.shape
        note = f"{rows} x {columns} float16, by blocks of outputs: [block][input][output of the block]"
        lines = [f"const uint16_t *w = {scope.table(layer.name, packed, note)};"]
        bias = scope.table(f"{layer.name}_bias", layer.bias, f"{rows} values")
        for start, width, count in runs(blocks):
            lines += _block(layer, scope, start, start + width * count, width, bias)
        return lines


def _block(layer: DenseLayer, scope: Scope, start: int, stop: int, width: int, bias: str) -> list[str]:
    rows = range(width)
    return [
        f"for (int o = {start}; o < {stop}; o += {width}) {{",
        f"  float {', '.join(f's{k} = {bias}[o + {k}]' for k in rows)};",
        "  const float *in = x;",
        f"  for (int n = {layer.columns}; n > 0; --n, ++in, w += {width}) {{ {_one_input(scope, width)} }}",
        *(f"  y[o + {k}] = {finish(layer, scope, f's{k}')};" for k in rows),
        "}",
    ]


def _one_input(scope: Scope, width: int) -> str:
    """All rows of the block take one input; two weights share a load where there is an FPU to take them apart."""
    if width == 1 or not scope.machine.fpu:
        return "const float v = *in; " + " ".join(f"s{k} += {scope.call('half')}(w[{k}]) * v;" for k in range(width))
    scope.math.add("halves")
    loads = ", ".join(f"w{k} = policy_load_two(&w[{k}])" for k in range(0, width, 2))
    values = [f"policy_{'high' if k % 2 else 'low'}(w{k - k % 2})" for k in range(width)]
    return (
        f"const policy_two {loads}; {multiply_add(scope, [(value, '*in') for value in values], [f's{k}' for k in range(width)])}"
    )
