"""Dense layers, each computed by the kernel that is cheapest on the machine."""

from __future__ import annotations

from dataclasses import dataclass

from ..graph import Graph, Node
from ..header import harmless
from ..kernels import KERNELS, Choice, DenseLayer, choose
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
        inputs = {"x": self.reads[0]} if self.reads else {}  # a layer without live inputs reads none
        return [comment(choice), *pointers(scope, self.output, **inputs), *kernel.print(self.layer, scope)]


def comment(choice: Choice) -> str:
    """What policy.c says about the choice."""
    return f"/* {harmless(str(choice))} */"
