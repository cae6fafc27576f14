"""Operators that look at the whole vector at once: Softmax and ArgMax."""

from __future__ import annotations

from dataclasses import dataclass

from ..graph import Graph, Node
from ..memory import Step
from .operator import Printed, Scope, number, pointers


def _check_axis(node: Node, default: int) -> None:
    # A vector [1, n] has one axis worth reducing; the reader has refused everything wider.
    if node.attributes.get("axis", default) not in (-1, 1):
        raise node.refuse("the last axis", f"axis {node.attributes.get('axis', default)}")


@dataclass
class Softmax(Printed):
    """y = exp(x - max(x)) / sum(exp(x - max(x)))"""

    @classmethod
    def read(cls, node: Node, graph: Graph) -> Softmax:
        _check_axis(node, -1)
        return cls(node, node.inputs[:1], graph.sizes[node.outputs[0]])

    def print(self, scope: Scope) -> list[str]:
        exp = scope.call("exp")
        return [
            *pointers(scope, self.output, x=self.reads[0]),
            "float high = x[0], sum = 0.0f;",
            f"for (int i = 1; i < {self.size}; ++i) high = x[i] > high ? x[i] : high;",
            f"for (int i = 0; i < {self.size}; ++i) y[i] = {exp}(x[i] - high);",
            f"for (int i = 0; i < {self.size}; ++i) sum += y[i];",
            f"for (int i = 0; i < {self.size}; ++i) y[i] *= {number(1)} / sum;",
        ]


@dataclass
class ArgMax(Printed):
    """Index of the first largest entry; only as the last operation, because it is not a float."""

    @classmethod
    def read(cls, node: Node, graph: Graph) -> ArgMax:
        _check_axis(node, 0)
        if node.attributes.get("select_last_index", 0):
            raise node.refuse("the first of equal maxima", "select_last_index = 1")
        if node.outputs[0] not in graph.outputs:
            raise node.refuse("its result to be the action", f"{node.outputs[0]!r} inside the graph")
        return cls(node, node.inputs[:1], graph.sizes[node.inputs[0]])

    def step(self) -> Step:
        return Step(self.reads, (), {})

    def print(self, scope: Scope) -> list[str]:
        return [
            f"const float *const x = {scope.at(self.reads[0])};",
            "int best = 0;",
            f"for (int i = 1; i < {self.size}; ++i) best = x[i] > x[best] ? i : best;",
            "action[0] = (policy_action_t)best;",
        ]
