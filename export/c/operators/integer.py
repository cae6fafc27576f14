"""Integers between layers: Quantize stores floats as integers of a grid, DenseInteger multiplies them.

Integers cannot be NaN. Where floats become integers, a second output of Quantize is NaN if one of them was, else 0; where
integers become floats again, DenseInteger takes it as its second input and gives nothing but NaN if it is.
"""

from __future__ import annotations

from dataclasses import dataclass

from ..graph import Graph, Node
from ..kernels import INTEGER_KERNELS, choose
from ..kernels.integer_layer import IntegerLayer
from ..memory import Step
from .operator import Printed, Scope, number, pointers


@dataclass
class Quantize(Printed):
    """y[i] = q - origin, where (q - zero) * scale is x[i] rounded to the grid; attributes ``grid`` and ``storage``."""

    @classmethod
    def read(cls, node: Node, graph: Graph) -> Quantize:
        return cls(node, node.inputs[:1], graph.sizes[node.outputs[0]])

    def step(self) -> Step:
        return Step(self.reads, self.node.outputs, {})

    def print(self, scope: Scope) -> list[str]:
        grid, stored = self.node.attributes["grid"], self.node.attributes["storage"]
        low, high = grid.low - grid.zero, grid.high - grid.zero
        if scope.machine.fpu:
            value = f"{scope.call('to_grid')}(x[i], {number(1 / grid.scale)}, {number(low)}, {number(high)})"
        else:
            value = f"{scope.call('to_grid_soft')}(x[i], {number(1 / grid.scale)}, {low}, {high})"
        shift = grid.zero - stored.origin
        value += f" + {shift}" if shift > 0 else f" - {-shift}" if shift else ""
        lines = [f"for (int i = 0; i < {self.size}; ++i) y[i] = ({stored.kind})({value});"]
        if not scope.machine.vectors:
            scope.math.add("rolled")
            lines.insert(0, "POLICY_ROLLED")
        if len(self.node.outputs) > 1:
            lines.append(f"*({scope.at(self.node.outputs[1])}) = {scope.call('nan_in')}(x, {self.size});")
        return [*pointers(scope, self.output, x=self.reads[0]), *lines]


@dataclass
class DenseInteger(Printed):
    """A dense layer on stored integers; the node's attribute ``layer`` is an IntegerLayer."""

    layer: IntegerLayer = None  # type: ignore[assignment]

    @classmethod
    def read(cls, node: Node, graph: Graph) -> DenseInteger:
        layer: IntegerLayer = node.attributes["layer"]
        return cls(node, node.inputs, layer.rows, layer)

    def print(self, scope: Scope) -> list[str]:
        kernel, choice = choose(self.layer, scope.machine, INTEGER_KERNELS)
        scope.choices.append(choice)
        lines = [*pointers(scope, self.output, x=self.reads[0]), *kernel.print(self.layer, scope)]
        return [*lines, *broken_lines(self, scope, "y")] if len(self.reads) > 1 else lines


def broken_lines(operator: Printed, scope: Scope, output: str) -> list[str]:
    """C statements: nothing but NaN in ``output`` where the operator's second input is NaN."""
    scope.math.add("rolled")
    return [
        f"const float broken = *({scope.at(operator.reads[1])});",
        "if (broken != broken) {",
        "  POLICY_ROLLED",
        f"  for (int k = 0; k < {operator.size}; ++k) {output}[k] = broken;",
        "}",
    ]
