"""A layer whose weights are all zero: its outputs are known, and its inputs are not read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..machine import Machine
from .finish import finish
from .layer import DenseLayer

if TYPE_CHECKING:
    from ..operators.operator import Scope


class Constant:
    """y = f(bias)"""

    name = "constant"

    def cost(self, layer: DenseLayer, machine: Machine) -> float | None:
        return None if layer.live else 5.0 * layer.rows / machine.vector_floats

    def table_bytes(self, layer: DenseLayer, machine: Machine) -> int:
        return 4 * layer.rows + 30

    def print(self, layer: DenseLayer, scope: Scope) -> list[str]:
        bias = scope.table(f"{layer.name}_bias", layer.bias, f"{layer.rows} values")
        unread = ["(void)x;"] if layer.columns else []
        ended = finish(layer, scope, "s")
        return [*unread, f"for (int o = 0; o < {layer.rows}; ++o) {{ const float s = {bias}[o]; y[o] = {ended}; }}"]
