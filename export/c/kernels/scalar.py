"""Dense, for processors without vector registers: the rows of a block share every load of an input."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..machine import Machine
from .blocks import cut, runs
from .finish import finish
from .layer import DenseLayer

if TYPE_CHECKING:
    from ..operators.operator import Scope

WIDTHS = (8, 7, 6, 5, 4, 3, 2, 1)
"""Rows of a block, with an FPU: each has a running sum and a weight in a register. Without one, every operation is a
call that empties the registers, and blocks gain nothing."""
INPUTS = 2
"""Inputs per round of the inner loop. On a Cortex-M4F (17-64-64-6, tanh, clang 22) 2 and 4 take 29 316 and 28 275 cycles by the
cost table, and 25 410 and 25 974 bytes of flash; letting the compiler mix loads and arithmetic took 34 130."""


class Scalar:
    """Sums in the order of the plain loop, in single floats; a block starts with its biases."""

    name = "dense"

    def cost(self, layer: DenseLayer, machine: Machine) -> float | None:
        if machine.vectors or layer.scale is not None:
            return None
        if machine.fpu:
            return 3.75 * layer.weight.size + 6.5 * layer.rows
        # A soft multiplication by zero is short, and so is the addition of zero.
        return 306.0 * layer.live + 164.0 * (layer.weight.size - layer.live) + 20.0 * layer.rows

    def table_bytes(self, layer: DenseLayer, machine: Machine) -> int:
        return layer.weight.nbytes + 4 * layer.rows + 200

    def print(self, layer: DenseLayer, scope: Scope) -> list[str]:
        blocks = cut(layer.rows, WIDTHS if scope.machine.fpu else (1,))
        packed = [pack(layer, start, width) for start, width in blocks]
        biases = "" if layer.shared else "their biases, then "
        comment = f"{layer.rows} x {layer.columns}, by blocks of outputs: {biases}[input][output of the block]"
        lines = [f"const float *w = {scope.table(layer.name, np.concatenate(packed), comment)};", "float *out = y;"]
        if layer.shared:
            lines.insert(1, f"const float *b = {scope.table(f'{layer.name}_bias', layer.bias, f'{layer.rows} values')};")
        for _, width, count in runs(blocks):
            lines += _blocks(layer, scope, width, count)
        return lines


def pack(layer: DenseLayer, start: int, width: int) -> np.ndarray:
    """Biases and weights of one block, flat; the weights alone if other layers have them, too, but not the biases."""
    rows = slice(start, start + width)
    bias = layer.bias[rows][: 0 if layer.shared else width]
    return np.concatenate([bias, np.ascontiguousarray(layer.weight[rows].T).reshape(-1)])


def _blocks(layer: DenseLayer, scope: Scope, width: int, count: int) -> list[str]:
    rows, columns = range(width), layer.columns
    rounds, rest = divmod(columns, INPUTS) if scope.machine.fpu else (columns, 0)
    step = INPUTS if scope.machine.fpu else 1
    bias = "b" if layer.shared else "w"
    lines = [
        "float " + ", ".join(f"s{k} = {bias}[{k}]" for k in rows) + ";",
        "const float *in = x;",
        f"{bias} += {width};",
    ]
    if rounds:
        lines.append(f"for (int i = 0; i < {rounds}; ++i, in += {step}, w += {step * width}) {{")
        lines += [f"  {_one_input(scope, width, u)}" for u in range(step)]
        lines.append("}")
    lines += [_one_input(scope, width, u) for u in range(rest)]
    if rest:
        lines.append(f"w += {rest * width};")
    lines += [f"out[{k}] = {finish(layer, scope, f's{k}')};" for k in rows]
    lines.append(f"out += {width};")
    if count == 1:
        return ["{", *(f"  {line}" for line in lines), "}"]
    return [f"for (int o = 0; o < {count}; ++o) {{", *(f"  {line}" for line in lines), "}"]


def _one_input(scope: Scope, width: int, u: int) -> str:
    """All rows of the block take one input: loads first, arithmetic afterwards."""
    rows, at = range(width), u * width
    if not scope.machine.fpu:
        return " ".join(f"s{k} += w[{at + k}] * in[{u}];" for k in rows)
    scope.math.add("together")
    load = f"float v = in[{u}], " + ", ".join(f"a{k} = w[{at + k}]" for k in rows) + ";"
    held = ", ".join(f"POLICY_IN_REGISTER({name})" for name in ("v", *(f"a{k}" for k in rows)))
    return (
        f"{{ {load} POLICY_TOGETHER({held}); " + " ".join([f"a{k} *= v;" for k in rows] + [f"s{k} += a{k};" for k in rows]) + " }"
    )
