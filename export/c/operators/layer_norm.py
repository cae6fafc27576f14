"""LayerNormalization over the whole vector."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..graph import Graph, Node
from .operator import Printed, Scope, number, pointers


@dataclass
class LayerNorm(Printed):
    """y = (x - mean) / sqrt(mean((x - mean)^2) + epsilon) * weight + bias: two passes, as the reference does."""

    in_place: ClassVar[bool] = True  # mean and spread are known before the first entry is written
    epsilon: float = 1e-5

    @classmethod
    def read(cls, node: Node, graph: Graph) -> LayerNorm:
        size = graph.sizes[node.outputs[0]]
        for name in node.inputs[1:]:
            if name and (name not in graph.constants or graph.vector(node, name).size != size):
                raise node.refuse(f"a constant weight and bias of {size} values", f"{name!r}")
        if len([o for o in node.outputs if o]) > 1:
            raise node.refuse("one output", "mean or deviation as well")
        return cls(node, node.inputs[:1], size, float(node.attributes.get("epsilon", 1e-5)))

    def print(self, scope: Scope) -> list[str]:
        total, squares, root = scope.call("sum"), scope.call("sum_of_squares"), scope.call("inverse_sqrt")
        inverse_n = number(1.0 / self.size)
        named = {"weight": self.node.inputs[1]}
        if len(self.node.inputs) > 2 and self.node.inputs[2]:
            named["bias"] = self.node.inputs[2]
        bias = " + bias[i]" if "bias" in named else ""
        return [
            *pointers(scope, self.output, x=self.reads[0], **named),
            f"const float mean = {total}(x, {self.size}) * {inverse_n};",
            f"const float spread = {root}({squares}(x, mean, {self.size}) * {inverse_n} + {number(self.epsilon)});",
            f"for (int i = 0; i < {self.size}; ++i) y[i] = (x[i] - mean) * spread * weight[i]{bias};",
        ]
