"""C for what follows the sum of an integer layer: scaling, the activation's staircase or a shift, and the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from .integer_layer import IntegerLayer

if TYPE_CHECKING:
    from ..operators.operator import Scope


class Finish:
    """Prints the end of the rows of one layer, and collects the tables that it needs."""

    def __init__(self, layer: IntegerLayer, scope: Scope, padded: int | None = None) -> None:
        self.layer, self.scope = layer, scope
        rows = padded or layer.rows
        fixed = layer.fixed
        if fixed is None:
            pair = np.stack([layer.scale, layer.bias]).astype(np.float32)
            note = "scale and bias of every row"
        else:
            pair = np.stack([fixed.multiplier, fixed.offset])
            note = "multiplier and offset of every row"
            scope.math.add("scaled")
        table = np.zeros((rows, 2), pair.dtype)
        table[: layer.rows] = pair.T
        self.table = scope.table(f"{layer.name}_rows", table.reshape(-1), note)
        stairs = layer.stairs
        if stairs is not None:
            self.base = scope.table("stairs_base", stairs.base, "steps climbed at the start of every cell")
            self.edges = scope.table("stairs_edges", stairs.edges, "edges of the staircase")

    def row(self, total: str, row: str) -> list[str]:
        """C statements that turn the sum ``total`` of output ``row`` into y[row]."""
        layer, fixed, stairs = self.layer, self.layer.fixed, self.layer.stairs
        at = f"{self.table}[2 * ({row})]", f"{self.table}[2 * ({row}) + 1]"
        if fixed is None:
            return [f"y[{row}] = {at[1]} + {at[0]} * (float){total};"]
        assert layer.outputs is not None
        kind = layer.outputs.kind
        value = f"policy_scaled({total}, {at[0]}, {fixed.shift}) + {at[1]}"
        if stairs is None:
            low, high = (q - layer.outputs.origin for q in layer.limits)
            call = f"{self.scope.call('stored_step')}({value}, {fixed.step_bits}, {low}, {high})"
            return [f"y[{row}] = ({kind}){call};"]
        stored = stairs.first - layer.outputs.origin
        function = self.scope.call("odd_stairs" if stairs.mirrored else "stairs")
        call = f"{function}({value}, {self.base}, {len(stairs.base) - 1}, {self.edges}, {stairs.bits})"
        return [f"y[{row}] = ({kind})({call}{f' + {stored}' if stored > 0 else f' - {-stored}' if stored else ''});"]
