"""C for what follows the sums of an integer layer: scaling, and the activation's staircase, a shift, or a float."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .integer_layer import IntegerLayer

if TYPE_CHECKING:
    from ..operators.operator import Scope


def finish(layer: IntegerLayer, scope: Scope, first: str, count: str) -> list[str]:
    """C statements that turn sum[0 … count) into y[first … first + count)."""
    fixed, stairs = layer.fixed, layer.stairs
    if fixed is None:
        scope.math.add("rolled")
        table = _rows(layer, scope, layer.scale.astype(np.float32), layer.bias.astype(np.float32), "scale and bias")
        loop = f"for (int k = 0; k < {count}; ++k)"
        at = f"{table}[2 * {_plus(first, 'k')}"
        return ["POLICY_ROLLED", f"{loop} y[{_plus(first, 'k')[1:-1]}] = {at} + 1] + {at}] * (float)(int32_t)sum[k];"]
    assert layer.outputs is not None
    table = _rows(layer, scope, fixed.multiplier, fixed.offset, "multiplier and offset")
    row = table if first == "0" else f"{table} + 2 * {first}"
    to = "y" if first == "0" else f"y + {first}"
    if stairs is None:
        low, high = (q - layer.outputs.origin for q in layer.limits)
        return [f"{scope.call('steps')}(sum, {row}, {count}, {fixed.shift}, {fixed.step_bits}, {low}, {high}, {to});"]
    base = scope.table("stairs_base", stairs.base, "steps climbed at the start of every cell")
    edges = scope.table("stairs_edges", stairs.edges, "edges of the staircase")
    function = scope.call("stairs")
    start = stairs.first - layer.outputs.origin
    return [
        f"static const policy_staircase stairs = {{{base}, {edges}, {len(stairs.base) - 1}, {stairs.bits}}};",
        f"{function}(sum, {row}, {count}, {fixed.shift}, &stairs, {int(stairs.mirrored)}, {start}, {to});",
    ]


def _rows(layer: IntegerLayer, scope: Scope, factors: np.ndarray, terms: np.ndarray, what: str) -> str:
    pairs = np.ascontiguousarray(np.stack([factors, terms], axis=1))
    return scope.table(f"{layer.name}_rows", pairs.reshape(-1), f"{what} of every row")


def _plus(first: str, index: str) -> str:
    return f"({index})" if first == "0" else f"({first} + {index})"
