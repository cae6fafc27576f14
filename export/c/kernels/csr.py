"""Sparse, by rows: only the weights that are not zero are stored, each with the index of its input."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..machine import Machine
from .finish import finish
from .indices import c_type, small
from .layer import DenseLayer
from .stream import stream_cycles
from .together import multiply_add

if TYPE_CHECKING:
    from ..operators.operator import Scope

WIDENED = {True: 4.0, False: 60.0}
"""FPU or not -> cycles by which an int8 weight costs more than a float one: it must become a float first."""
STEPS = (8, 4, 2, 1)
"""Weights that are taken at once: rounds of the first, then what is left of a row."""


class Csr:
    """Every row in two sums, of every other weight, where there is an FPU: an addition need not wait for the one before."""

    name = "csr"

    def cost(self, layer: DenseLayer, machine: Machine) -> float | None:
        if not layer.live or layer.columns > 65536:
            return None
        rows, live = layer.rows, layer.live
        if machine.vectors:
            return 0.86 * live + 4.8 * rows + 5.0 + stream_cycles(live * (layer.weight.itemsize + 1))
        widened = 0.0 if layer.scale is None else WIDENED[machine.fpu]
        if not machine.fpu:
            return (310.0 + widened) * live + 33.0 * rows
        # A row that is no multiple of eight passes through one or two of the shorter steps.
        shorter = np.minimum(np.count_nonzero(layer.weight, axis=1), 1.5).sum()
        scaled = 0.0 if layer.scale is None else 8.0
        return (7.1 + widened) * live + (20.0 + scaled) * rows + 8.0 * float(shorter)

    def table_bytes(self, layer: DenseLayer, machine: Machine) -> int:
        index = 1 if layer.columns <= 256 else 2
        scale = 0 if layer.scale is None else 4
        return layer.live * (layer.weight.itemsize + index) + layer.rows * (5 + scale) + 120

    def print(self, layer: DenseLayer, scope: Scope) -> list[str]:
        rows, columns = np.nonzero(layer.weight)
        weight = layer.weight[rows, columns]
        at, count = small(columns), small(np.bincount(rows, minlength=layer.rows))
        names = {
            "w": (
                weight,
                scope.table(layer.name, weight, f"{layer.rows} x {layer.columns}, {layer.live} weights that are not zero"),
            ),
            "at": (at, scope.table(f"{layer.name}_inputs", at, "the input of each weight")),
        }
        counts = scope.table(f"{layer.name}_counts", count, "weights of each output")
        bias = scope.table(f"{layer.name}_bias", layer.bias, f"{layer.rows} values")
        cast = "" if layer.scale is None else "(float)"
        start, end = f"{bias}[o]", "s"
        if layer.scale is not None:
            scale = scope.table(f"{layer.name}_scale", layer.scale, f"{layer.rows} values")
            start, end = "0.0f", f"{bias}[o] + {scale}[o] * s"
        return [
            *(f"const {c_type(array)} *{pointer} = {table};" for pointer, (array, table) in names.items()),
            f"for (int o = 0; o < {layer.rows}; ++o) {{",
            f"  int n = {counts}[o];",
            *(f"  {line}" for line in _row(scope, start, cast)),
            *([] if end == "s" else [f"  s = {end};"]),
            f"  y[o] = {finish(layer, scope, 's')};",
            "}",
        ]


def _row(scope: Scope, start: str, cast: str) -> list[str]:
    """The sum ``s`` of one row of ``n`` weights."""
    if not scope.machine.fpu:  # every operation is a call: nothing but the number of them counts
        return [f"float s = {start};", f"for (; n > 0; --n) s += {cast}*w++ * x[*at++];"]
    first, rest = STEPS[0], STEPS[1:-1]
    return [
        f"float s = {start}, t = 0.0f;",
        f"for (; n >= {first}; n -= {first}, w += {first}, at += {first}) {_step(scope, first, cast)}",
        *(f"if (n & {n}) {{ {_step(scope, n, cast)} w += {n}; at += {n}; }}" for n in rest),
        f"if (n & 1) s += {cast}*w++ * x[*at++];",
        "s += t;",
    ]


def _step(scope: Scope, n: int, cast: str) -> str:
    """Addresses first, four at a time (core registers are few), then the loads, then the arithmetic."""
    if scope.machine.vectors:
        return "{ " + multiply_add(scope, [(f"{cast}w[{k}]", f"x[at[{k}]]") for k in range(n)], ["s", "t"] * (n // 2)) + " }"
    text = ""
    for first in range(0, n, 4):
        group = range(first, min(first + 4, n))
        pointers = ", ".join(f"*p{k} = &x[at[{k}]]" for k in group)
        held = ", ".join(f'"+r"(p{k})' for k in group)
        body = multiply_add(scope, [(f"{cast}w[{k}]", f"*p{k}") for k in group], ["s", "t"] * (len(group) // 2))
        text += f" {{ const float {pointers}; POLICY_TOGETHER({held}); {body} }}"
    return f"{{{text} }}"
