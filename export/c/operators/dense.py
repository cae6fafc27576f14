"""Dense layers, each computed by the kernel that is cheapest on the machine."""

from __future__ import annotations

from dataclasses import dataclass

from ..graph import Graph, Node
from ..kernels import KERNELS, DenseLayer, choose
from .operator import Printed, Scope, pointers


@dataclass
class Dense(Printed):
    """y[o] = f(bias[o] + scale[o] * sum_i weight[o][i] * x[i]); the node's attribute ``layer`` holds the numbers."""

    layer: DenseLayer = None  # type: ignore[assignment]

    @classmethod
    def read(cls, node: Node, graph: Graph) -> Dense:
        layer: DenseLayer = node.attributes["layer"]
        return cls(node, node.inputs[:1], layer.rows, layer)

    def print(self, scope: Scope) -> list[str]:
        kernel, choice = choose(self.layer, scope.machine, KERNELS)
        scope.choices.append(choice)
        return [*pointers(scope, self.output, x=self.reads[0]), *kernel.print(self.layer, scope)]
