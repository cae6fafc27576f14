"""Elementwise arithmetic of two vectors, or of a vector and one number: Add, Sub, Mul, Div, Min, Max."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from ..graph import Graph, Node
from .operator import Printed, Scope, number, pointers

FORMULAS = {
    "Add": "{a} + {b}",
    "Sub": "{a} - {b}",
    "Mul": "{a} * {b}",
    "Div": "{a} / {b}",
    "Min": "{b} < {a} ? {b} : {a}",
    "Max": "{b} > {a} ? {b} : {a}",
}


@dataclass
class Elementwise(Printed):
    """y[i] = a[i] op b[i]; a side of size 1 is repeated."""

    in_place: ClassVar[bool] = True

    @classmethod
    def read(cls, node: Node, graph: Graph) -> Elementwise:
        if len(node.inputs) != 2:
            raise node.refuse("two inputs", f"{len(node.inputs)}")
        size = graph.sizes[node.outputs[0]]
        for name in node.inputs:
            given = graph.sizes.get(name) or graph.vector(node, name).size
            if given not in (1, size):
                raise node.refuse(f"1 or {size} float32 values", f"{given} in {name!r}")
        return cls(node, tuple(i for i in node.inputs if i in graph.sizes), size)

    def print(self, scope: Scope) -> list[str]:
        terms, named = {}, {}
        for letter, name in zip("ab", self.node.inputs, strict=True):
            constant = scope.graph.vector(self.node, name) if name in scope.graph.constants else None
            if constant is not None and constant.size == 1:
                terms[letter] = number(constant[0])
                if terms[letter].startswith("-"):
                    terms[letter] = f"({terms[letter]})"
                continue
            named[letter] = name
            single = (scope.graph.sizes[name] if constant is None else constant.size) == 1 != self.size
            terms[letter] = f"{letter}[0]" if single else f"{letter}[i]"
        formula = FORMULAS[self.node.op].format(**terms)
        return [*pointers(scope, self.output, **named), f"for (int i = 0; i < {self.size}; ++i) y[i] = {formula};"]
