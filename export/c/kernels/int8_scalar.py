"""Integer layers in plain C: one product at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..machine import Machine
from .blocks import cut, runs
from .integer_finish import Finish
from .integer_layer import IntegerLayer

if TYPE_CHECKING:
    from ..operators.operator import Scope

WIDTHS = (4, 3, 2, 1)
"""Rows of a block: on Thumb-1, four sums, an input, a weight and two pointers fill the eight registers that it can use."""
INPUTS = 4
"""Inputs per round of the inner loop."""


class Int8Scalar:
    """Products of numbers without a sign, modulo 2^32: (w + 128) * x, less 128 times the sum of all inputs.

    Thumb-1 loads bytes with an immediate offset only without their sign. The result is exact, as the true sum has 32 bits.
    """

    name = "dense int8"

    def cost(self, layer: IntegerLayer, machine: Machine) -> float | None:
        if machine.vectors or machine.dsp:
            return None
        return 5.0 * layer.weight.size + 40.0 * layer.rows + 5.0 * layer.columns

    def table_bytes(self, layer: IntegerLayer, machine: Machine) -> int:
        return layer.weight.size + 8 * layer.rows + 250

    def print(self, layer: IntegerLayer, scope: Scope) -> list[str]:
        blocks = cut(layer.rows, WIDTHS)
        packed = np.concatenate([pack(layer.weight, start, width) for start, width in blocks])
        comment = (
            f"{layer.rows} x {layer.columns}, 128 more than they are, by blocks of outputs: [block][input][output of the block]"
        )
        weight = scope.table(layer.name, packed, comment)
        finish = Finish(layer, scope)
        kind = "uint16_t" if layer.inputs.unsigned else "int32_t"
        lines = [
            f"const uint8_t *w = {weight};",
            "uint32_t all = 0;",
            f"for (int i = 0; i < {layer.columns}; ++i) all += (uint32_t)({kind})x[i];",
            "all *= 128;",
        ]
        for start, width, count in runs(blocks):
            lines += _blocks(layer, finish, start, width, count, kind)
        return lines


def pack(weight: np.ndarray, start: int, width: int) -> np.ndarray:
    """One block as a flat [in][width] table of bytes."""
    return np.ascontiguousarray((weight[start : start + width].T.astype(np.int16) + 128).astype(np.uint8)).reshape(-1)


def _blocks(layer: IntegerLayer, finish: Finish, start: int, width: int, count: int, kind: str) -> list[str]:
    rows = range(width)
    rounds, rest = divmod(layer.columns, INPUTS)

    def one(u: int) -> str:
        return (
            f"{{ const uint32_t v = (uint32_t)({kind})in[{u}]; "
            + " ".join(f"s{k} += v * w[{u * width + k}];" for k in rows)
            + " }"
        )

    lines = ["uint32_t " + ", ".join(f"s{k} = 0u - all" for k in rows) + ";", "const int16_t *in = x;"]
    if rounds:
        lines.append(f"for (int i = 0; i < {rounds}; ++i, in += {INPUTS}, w += {INPUTS * width}) {{")
        lines += [f"  {one(u)}" for u in range(INPUTS)]
        lines.append("}")
    lines += [one(u) for u in range(rest)]
    if rest:
        lines.append(f"w += {rest * width};")
    for k in rows:
        lines += finish.row(f"(int32_t)s{k}", f"o + {k}")
    return [f"for (int o = {start}; o < {start + count * width}; o += {width}) {{", *(f"  {line}" for line in lines), "}"]
