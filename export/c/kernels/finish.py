"""The activation that a layer ends with, as a C expression of the sum."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .layer import DenseLayer

if TYPE_CHECKING:
    from ..operators.operator import Scope


def finish(layer: DenseLayer, scope: Scope, value: str) -> str:
    """``value``, a plain C name, with the fused activation applied."""
    if layer.activation is None:
        return value
    from ..operators.activation import FORMULAS  # operators import kernels: not at load time

    return FORMULAS[layer.activation.op](layer.activation, scope.graph, scope).replace("x[i]", value)
