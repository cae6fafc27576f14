"""Integer layers with weights of 2, 3 and 4 bits on processors without vector registers: unpacked on the way to the product."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..machine import Machine
from .int8_rows import chunks
from .integer_layer import IntegerLayer
from .packed import ROWS, packed_bytes, packed_rows

if TYPE_CHECKING:
    from ..operators.operator import Scope

PAIRS_CYCLES = {4: 2.0, 3: 2.3, 2: 1.65}
"""Bits -> cycles of a product with SMLAD (17-64-64-6 on the virtual Cortex-M4F: 17,394, 18,844 and 15,297 cycles a decision, int8
14,505)."""
PLAIN_CYCLES = {4: 4.3, 3: 5.5, 2: 4.3}
"""Bits -> cycles of a product without (on the virtual Cortex-M0+: 43,840, 50,818 and 43,884, int8 46,776: four weights of
4 or 2 bits take one load, those of 8 bits four)."""


class NarrowRows:
    """Integer for integer what the int8 kernels compute (math_sums_Nbits_pairs.c with SMLAD, math_sums_Nbits.c without)."""

    name = "dense, packed bits"

    def cost(self, layer: IntegerLayer, machine: Machine) -> float | None:
        if machine.vectors or layer.bits > 4:
            return None
        padded = -(-layer.rows // ROWS) * ROWS * layer.columns
        if machine.dsp:
            return PAIRS_CYCLES[layer.bits] * padded + 25.0 * layer.rows + 100.0
        return PLAIN_CYCLES[layer.bits] * padded + 50.0 * layer.rows + 10.0 * layer.columns

    def table_bytes(self, layer: IntegerLayer, machine: Machine) -> int:
        return packed_bytes(layer.rows, layer.columns, layer.bits) + 8 * layer.rows + 150

    def print(self, layer: IntegerLayer, scope: Scope) -> list[str]:
        function = f"sums_{layer.bits}bits" + ("_pairs" if scope.machine.dsp else "")
        call = f"{scope.call(function)}(w, x, {-(-layer.columns // 2)}"
        return chunks(layer, scope, packed_rows(layer.weight, layer.bits), call, -(-layer.rows // ROWS) * ROWS)
