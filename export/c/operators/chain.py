"""Several sparse layers in a row as one piece of straight-line code."""

from __future__ import annotations

from dataclasses import dataclass

from ..graph import Graph, Node
from ..kernels import KERNELS, DenseLayer, choose
from ..kernels.straight import straight_line
from .dense import comment
from .operator import Printed, Scope, pointers


@dataclass
class Chain(Printed):
    """Dense after Dense; the node's attribute ``layers`` holds them, first to last."""

    layers: tuple[DenseLayer, ...] = ()

    @classmethod
    def read(cls, node: Node, graph: Graph) -> Chain:
        layers: tuple[DenseLayer, ...] = node.attributes["layers"]
        return cls(node, node.inputs[:1], layers[-1].rows, layers)

    def print(self, scope: Scope) -> list[str]:
        choices = [choose(layer, scope.machine, KERNELS)[1] for layer in self.layers]
        scope.choices += choices
        notes = [comment(choice) for choice in choices]
        return [*notes, *pointers(scope, self.output, x=self.reads[0]), *straight_line(self.layers, scope)]
