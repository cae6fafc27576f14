"""Several elementwise operations in one loop: what only they read never reaches memory."""

from __future__ import annotations

from dataclasses import dataclass

from ..graph import Graph, Node
from ..memory import Step
from .activation import FORMULAS as ACTIVATIONS
from .activation import Activation
from .elementwise import FORMULAS as ARITHMETIC
from .elementwise import Elementwise
from .operator import Scope, number


@dataclass
class Fused:
    """out[i] = f(in[i], …) for every output; inputs of size 1 are repeated."""

    node: Node
    reads: tuple[str, ...]
    size: int

    @classmethod
    def read(cls, node: Node, graph: Graph) -> Fused:
        for inner in node.attributes["nodes"]:
            (Elementwise if inner.op in ARITHMETIC else Activation).read(inner, graph)
        return cls(node, tuple(i for i in node.inputs if i in graph.sizes), graph.sizes[node.outputs[0]])

    def step(self) -> Step:
        return Step(self.reads, self.node.outputs, {}, in_place=True)

    def print(self, scope: Scope) -> list[str]:
        names: dict[str, str] = {}
        lines: list[str] = []
        body: list[str] = []
        for index, inner in enumerate(self.node.attributes["nodes"]):
            operands = inner.inputs if inner.op in ARITHMETIC else inner.inputs[:1]
            terms = [self._term(name, names, lines, scope) for name in operands]
            if inner.op in ARITHMETIC:
                value = ARITHMETIC[inner.op].format(**dict(zip("ab", terms, strict=True)))
            else:
                value = ACTIVATIONS[inner.op](inner, scope.graph, scope).replace("x[i]", terms[0])
            names[inner.outputs[0]] = f"t{index}"
            body.append(f"const float t{index} = {value};")
        for index, name in enumerate(self.node.outputs):
            lines.append(f"float *const y{index} = {scope.at(name)};")
            body.append(f"y{index}[i] = {names[name]};")
        return [*lines, f"for (int i = 0; i < {self.size}; ++i) {{", *(f"  {line}" for line in body), "}"]

    def _term(self, name: str, names: dict[str, str], lines: list[str], scope: Scope) -> str:
        """The C expression of one operand; declares a pointer to it when it is met first."""
        if name in names:
            return names[name]
        graph = scope.graph
        size = graph.sizes[name] if name in graph.sizes else graph.vector(self.node, name).size
        if name in graph.constants and size == 1:
            text = number(graph.scalar(self.node, name))
            names[name] = f"({text})" if text.startswith("-") else text
            return names[name]
        pointer = f"x{len(lines)}"
        lines.append(f"const float *const {pointer} = {scope.at(name)};")
        names[name] = f"{pointer}[0]" if size == 1 != self.size else f"{pointer}[i]"
        return names[name]
