"""Dense with weights of 2, 3 and 4 bits and float inputs, for processors without vector registers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..machine import Machine
from .blocks import pad
from .finish import finish
from .layer import DenseLayer
from .packed import ROWS, packed_inputs
from .together import multiply_add

if TYPE_CHECKING:
    from ..operators.operator import Scope


class NarrowScalar:
    """Sums of float(weight) * input in the order of the plain loop, four rows at a time, scaled at the end."""

    name = "dense, packed bits and floats"

    def cost(self, layer: DenseLayer, machine: Machine) -> float | None:
        if machine.vectors or layer.scale is None or layer.bits > 4 or layer.columns > 1 << 16:
            return None
        products = -(-layer.rows // ROWS) * ROWS * layer.columns
        return (9.0 if machine.fpu else 320.0) * products + 20.0 * layer.rows

    def table_bytes(self, layer: DenseLayer, machine: Machine) -> int:
        blocks, columns = -(-layer.rows // ROWS), layer.columns
        inputs = {4: 2 * columns, 3: 2 * (columns // 4 * 3 + columns % 4), 2: columns}[layer.bits]
        return blocks * (inputs + 8 * ROWS) + (0 if machine.fpu else 4 << layer.bits) + 200

    def print(self, layer: DenseLayer, scope: Scope) -> list[str]:
        assert layer.scale is not None
        bits, columns, padded = layer.bits, layer.columns, -(-layer.rows // ROWS) * ROWS
        packed = packed_inputs(layer.weight, bits)
        note = f"{layer.rows} x {columns} in {bits} bits, by blocks of {ROWS} outputs"
        weight = scope.table(layer.name, packed, note)
        bias = scope.table(f"{layer.name}_bias", pad(layer.bias, padded), f"{layer.rows} values")
        scale = scope.table(f"{layer.name}_scale", pad(layer.scale, padded), f"{layer.rows} values")
        groups, rest = divmod(columns, 4) if bits == 3 else (0, columns)
        lines = [f"float {', '.join(f's{k} = 0.0f' for k in range(ROWS))};", "const float *in = x;"]
        if groups:
            lines += [
                f"for (int n = {groups}; n > 0; --n, in += 4, w += 3) {{",
                *(f"  {_product(layer, scope, f'w[{k}]', f'in[{k}]')}" for k in range(3)),
                "  "
                + _product(layer, scope, "(uint32_t)w[0] >> 12 | (uint32_t)w[1] >> 12 << 4 | (uint32_t)w[2] >> 12 << 8", "in[3]"),
                "}",
            ]
        if rest:
            lines.append(f"for (int n = {rest}; n > 0; --n, ++in, ++w) {_product(layer, scope, '*w', '*in')}")
        for k in range(ROWS):
            ended = f"s{k} = {bias}[o + {k}] + {scale}[o + {k}] * s{k}; y[o + {k}] = {finish(layer, scope, f's{k}')};"
            guard = f"if (o + {k} < {layer.rows}) " if layer.rows < padded and k else ""
            lines.append(f"{guard}{{ {ended} }}")
        table = "uint8_t" if packed.dtype == np.uint8 else "uint16_t"
        return [
            f"const {table} *w = {weight};",
            f"for (int o = 0; o < {layer.rows}; o += {ROWS}) {{",
            *(f"  {line}" for line in lines),
            "}",
        ]


def _product(layer: DenseLayer, scope: Scope, codes: str, value: str) -> str:
    """C: the sums of four rows take one input; without an FPU a table turns a weight into a float."""
    bits, mask = layer.bits, (1 << layer.bits) - 1
    zero = 1 << bits - 1
    fields = [f"(u >> {bits * k} & {mask}u)" if k else f"(u & {mask}u)" for k in range(ROWS)]
    if scope.machine.fpu:
        weights = [f"(float)((int32_t){field} - {zero})" for field in fields]
    else:
        values = scope.table(f"levels_{bits}", np.arange(-zero, zero, dtype=np.float32), f"the values of {bits} bits")
        weights = [f"{values}[{field}]" for field in fields]
    add = multiply_add(scope, [(weight, value) for weight in weights], [f"s{k}" for k in range(ROWS)])
    return f"{{ const uint32_t u = {codes}; {add} }}"
