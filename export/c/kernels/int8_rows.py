"""Integer layers on processors without vector registers: sums in integers, then each straight to its result."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..machine import Machine
from .integer_finish import finish
from .integer_layer import IntegerLayer

if TYPE_CHECKING:
    from ..operators.operator import Scope

CHUNK = 32
"""Rows whose sums are computed before they are turned into results: the two loops do not fight for registers."""


class Int8Pairs:
    """SMLAD of the DSP extension: two products of 16 bits at once (math_sums_pairs.c says how the weights lie)."""

    name = "dense int8, pairs"

    def cost(self, layer: IntegerLayer, machine: Machine) -> float | None:
        if machine.vectors or not machine.dsp:
            return None
        return 1.5 * layer.weight.size + 25.0 * layer.rows + 100.0

    def table_bytes(self, layer: IntegerLayer, machine: Machine) -> int:
        return 4 * (-(-layer.rows // 2)) * (-(-layer.columns // 2)) + 8 * layer.rows + 150

    def print(self, layer: IntegerLayer, scope: Scope) -> list[str]:
        packed = np.concatenate([pairs(layer.weight[start : start + 4]) for start in range(0, layer.rows, 4)])
        count = -(-layer.columns // 2)
        return chunks(layer, scope, packed, f"{scope.call('sums_pairs')}(w, x, {count}", -(-layer.rows // 2) * 2)


class Int8Bytes:
    """One product at a time, four rows to an input (math_sums_bytes.c)."""

    name = "dense int8, bytes"

    def cost(self, layer: IntegerLayer, machine: Machine) -> float | None:
        if machine.vectors or machine.dsp:
            return None
        return 4.8 * (-(-layer.rows // 4) * 4) * layer.columns + 50.0 * layer.rows + 10.0 * layer.columns

    def table_bytes(self, layer: IntegerLayer, machine: Machine) -> int:
        return -(-layer.rows // 4) * 4 * layer.columns + 8 * layer.rows + 150

    def print(self, layer: IntegerLayer, scope: Scope) -> list[str]:
        padded = -(-layer.rows // 4) * 4
        weight = np.zeros((padded, layer.columns), np.int16)
        weight[: layer.rows] = layer.weight
        packed = (weight.reshape(-1, 4, layer.columns).transpose(0, 2, 1) + 128).astype(np.uint8).reshape(-1)
        return chunks(layer, scope, packed, f"{scope.call('sums_bytes')}(w, x, {layer.columns}", padded)


def pairs(rows: np.ndarray) -> np.ndarray:
    """Up to four rows as words of math_sums_pairs.c, [pair of inputs][pair of rows], zero-padded to whole pairs."""
    block = np.zeros((-(-len(rows) // 2) * 2, rows.shape[1] + rows.shape[1] % 2), np.int16)
    block[: len(rows), : rows.shape[1]] = rows
    block[0::2] += 128
    # [pair of rows, row, pair of columns, column] -> [pair of columns, pair of rows, column, row]
    words = block.reshape(len(block) // 2, 2, -1, 2).transpose(2, 0, 3, 1)
    return np.ascontiguousarray(words).astype(np.uint8).reshape(-1)


def chunks(layer: IntegerLayer, scope: Scope, packed: np.ndarray, call: str, padded: int) -> list[str]:
    """C statements: ``call`` and its last two arguments, rows and sums, for CHUNK rows at a time, and what follows the sums.

    ``call`` reads the table ``packed`` at ``w``, and returns where the next rows begin; it may write ``padded`` sums in all.
    """
    kind = f"{packed.dtype.name}_t"
    weight = scope.table(layer.name, packed, f"{layer.rows} x {layer.columns}, as the function of the sums wants them")
    if layer.rows <= CHUNK:
        return [
            f"const {kind} *const w = {weight};",
            f"uint32_t sum[{padded}];",
            f"(void){call}, {layer.rows}, sum);",
            *finish(layer, scope, "0", str(layer.rows)),
        ]
    return [
        f"const {kind} *w = {weight};",
        f"uint32_t sum[{CHUNK}];",
        "POLICY_ROLLED",
        f"for (int o = 0; o < {layer.rows}; o += {CHUNK}) {{",
        f"  const int rows = {layer.rows} - o < {CHUNK} ? {layer.rows} - o : {CHUNK};",
        f"  w = {call}, rows, sum);",
        *(f"  {line}" for line in finish(layer, scope, "o", "rows")),
        "}",
    ]
