"""Dense, in vector registers: a block of outputs is summed in registers while one input after the other is broadcast."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..machine import Machine
from .blocks import cut, pack, pad, runs
from .layer import DenseLayer
from .stream import stream_cycles

if TYPE_CHECKING:
    from ..operators.operator import Scope

SUMS = 64
"""Running sums that a block keeps at least: 8 registers hide the latency of a fused multiply-add. A narrow block
reads several inputs per round to have as many."""


class Vector:
    """Sums in the order of the plain loop where a block reads one input per round, else in interleaved partial sums."""

    name = "dense vector"

    def cost(self, layer: DenseLayer, machine: Machine) -> float | None:
        if not machine.vectors or layer.activation is not None:
            return None
        blocks = cut(layer.rows, widths(machine))
        vectors = sum(width for _, width in blocks) // machine.vector_floats
        partial = 10.0 * any(width < SUMS for _, width in blocks)
        return 0.4 * vectors * layer.columns + 3.0 + partial + stream_cycles(layer.columns * 4 * machine.vector_floats * vectors)

    def table_bytes(self, layer: DenseLayer, machine: Machine) -> int:
        padded = sum(width for _, width in cut(layer.rows, widths(machine)))
        return padded * (layer.columns * layer.weight.itemsize + (4 if layer.scale is None else 8)) + 300

    def print(self, layer: DenseLayer, scope: Scope) -> list[str]:
        blocks = cut(layer.rows, widths(scope.machine))
        packed = np.concatenate([pack(layer.weight, start, width) for start, width in blocks])
        padded = sum(width for _, width in blocks)
        rows, columns = layer.weight.shape
        weight = scope.table(layer.name, packed, f"{rows} x {columns}, by blocks of outputs: [block][input][output of the block]")
        bias = scope.table(f"{layer.name}_bias", pad(layer.bias, padded), f"{rows} values")
        scale = None if layer.scale is None else scope.table(f"{layer.name}_scale", pad(layer.scale, padded), f"{rows} values")
        scope.math.add("lanes_int8" if scale else "lanes")
        lines = [f"const {'float' if scale is None else 'int8_t'} *w = {weight};"]
        for start, width, count in runs(blocks):
            lines += _block(start, start + width * count, width, columns, bias, scale)
        return lines


def widths(machine: Machine) -> tuple[int, ...]:
    """Outputs of a block, widest first: the narrowest is one register."""
    return tuple(width for width in (64, 32, 16, 8, 4) if width >= machine.vector_floats)


def _block(start: int, stop: int, width: int, columns: int, bias: str, scale: str | None) -> list[str]:
    inputs = max(1, SUMS // width)
    while inputs > columns:
        inputs //= 2
    whole = columns - columns % inputs
    load = "policy_load_int8" if scale else "policy_load"
    vectors = f"{width} / POLICY_LANES"
    each = f"for (int k = 0; k < {vectors}; ++k)"
    others = f"for (int u = 1; u < {inputs}; ++u) {each}"
    at = "[o + k * POLICY_LANES]"
    first = "policy_zero()" if scale else f"policy_load(&{bias}{at})"
    lines = [f"policy_vec sum[{inputs}][{vectors}];", f"{each} sum[0][k] = {first};"]
    if inputs > 1:
        lines += [
            f"{others} sum[u][k] = policy_zero();",
            f"for (int i = 0; i < {whole}; i += {inputs}, w += {inputs * width})",
            f"  for (int u = 0; u < {inputs}; ++u)",
            f"    {each} sum[u][k] += {load}(&w[u * {width} + k * POLICY_LANES]) * x[i + u];",
        ]
    rest = whole if inputs > 1 else 0
    if rest < columns:
        lines += [
            f"for (int i = {rest}; i < {columns}; ++i, w += {width})",
            f"  {each} sum[0][k] += {load}(&w[k * POLICY_LANES]) * x[i];",
        ]
    if inputs > 1:
        lines.append(f"{others} sum[0][k] += sum[u][k];")
    value = f"policy_load(&{bias}{at}) + policy_load(&{scale}{at}) * sum[0][k]" if scale else "sum[0][k]"
    lines.append(f"{each} policy_store(&y{at}, {value});")
    return [f"for (int o = {start}; o < {stop}; o += {width}) {{", *(f"  {line}" for line in lines), "}"]
