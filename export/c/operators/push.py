"""Push: a history in the caller's state is shifted by one vector, and the newest put at its end."""

from __future__ import annotations

from dataclasses import dataclass

from ..graph import Graph, Node
from ..memory import Step
from .operator import Scope


@dataclass
class Push:
    """Inputs (state, newest), output: the state itself, after the shift. Made by the rewrite push_history.

    A ring buffer would copy less, but every reader would have to go around its seam; one shift costs a load and a
    store for each entry, against the multiply-adds of a whole row of weights in the layer that reads it.
    """

    node: Node
    size: int
    newest: int

    @classmethod
    def read(cls, node: Node, graph: Graph) -> Push:
        state, newest = node.inputs
        return cls(node, graph.sizes[state], graph.sizes[newest])

    def step(self) -> Step:
        return Step(self.node.inputs, (), {self.node.outputs[0]: (self.node.inputs[0], 0)})

    def print(self, scope: Scope) -> list[str]:
        state, newest = self.node.inputs
        kept = self.size - self.newest
        return [
            f"float *const y = {scope.at(state)};",
            f"const float *const x = {scope.at(newest)};",
            f"for (int i = 0; i < {kept}; ++i) y[i] = y[i + {self.newest}];",
            f"for (int i = 0; i < {self.newest}; ++i) y[{kept} + i] = x[i];",
        ]
