"""Elementwise functions of one vector: activations, Clip, and the int8 grid of FakeQuantize."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from ..graph import Graph, Node
from .operator import Printed, Scope, number, pointers

Formula = Callable[[Node, Graph, Scope], str]


def _clip(node: Node, graph: Graph, scope: Scope) -> str:
    formula = "x[i]"
    names = [*node.inputs[1:], "", ""]
    low, high = (graph.scalar(node, n) if n else None for n in names[:2])
    if low is not None:
        formula = f"(x[i] < {number(low)} ? {number(low)} : x[i])"
    if high is not None:
        formula = f"{scope.call('at_most')}({formula}, {number(high)})"
    return formula


def _hard_sigmoid(node: Node, _: Graph, scope: Scope) -> str:
    slope, offset = (number(node.attributes.get(name, value)) for name, value in (("alpha", 0.2), ("beta", 0.5)))
    return f"{scope.call('hard_sigmoid')}(x[i], {slope}, {offset})"


def _selu(node: Node, _: Graph, scope: Scope) -> str:
    alpha, scale = (
        node.attributes.get("alpha", 1.67326319217681884765625),
        node.attributes.get("gamma", 1.05070102214813232421875),
    )
    return f"{number(scale)} * {scope.call('elu')}(x[i], {number(alpha)})"


def _celu(node: Node, _: Graph, scope: Scope) -> str:
    alpha = node.attributes.get("alpha", 1.0)
    return f"{number(alpha)} * {scope.call('elu')}(x[i] * {number(1.0 / alpha)}, 1.0f)"


def _fake_quantize(node: Node, _: Graph, scope: Scope) -> str:
    scale, zero, low, high = (node.attributes[k] for k in ("scale", "zero", "low", "high"))
    return f"{scope.call('round_to_grid')}(x[i], {number(scale)}, {number(low - zero)}, {number(high - zero)})"


FORMULAS: dict[str, Formula] = {
    "Tanh": lambda _node, _graph, scope: f"{scope.call('tanh')}(x[i])",
    "Sigmoid": lambda _node, _graph, scope: f"{scope.call('sigmoid')}(x[i])",
    "Exp": lambda _node, _graph, scope: f"{scope.call('exp')}(x[i])",
    "Relu": lambda *_: "x[i] < 0.0f ? 0.0f : x[i]",
    "LeakyRelu": lambda node, *_: f"x[i] < 0.0f ? {number(node.attributes.get('alpha', 0.01))} * x[i] : x[i]",
    "Elu": lambda node, _graph, scope: f"{scope.call('elu')}(x[i], {number(node.attributes.get('alpha', 1.0))})",
    "Softsign": lambda _node, _graph, scope: f"x[i] / (1.0f + {scope.call('abs')}(x[i]))",
    "Abs": lambda _node, _graph, scope: f"{scope.call('abs')}(x[i])",
    "Neg": lambda *_: "-x[i]",
    "Silu": lambda _node, _graph, scope: f"{scope.call('silu')}(x[i])",  # made by a rewrite; ONNX has none in our opsets
    "Selu": _selu,
    "Celu": _celu,
    "Softplus": lambda _node, _graph, scope: f"{scope.call('softplus')}(x[i])",
    "Mish": lambda _node, _graph, scope: f"{scope.call('mish')}(x[i])",
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": lambda _node, _graph, scope: f"x[i] * {scope.call('hard_sigmoid')}(x[i], {number(1 / 6)}, 0.5f)",
    "Reciprocal": lambda *_: "1.0f / x[i]",
    "Clip": _clip,
    "FakeQuantize": _fake_quantize,
}


@dataclass
class Activation(Printed):
    """y[i] = f(x[i])"""

    in_place: ClassVar[bool] = True

    @classmethod
    def read(cls, node: Node, graph: Graph) -> Activation:
        if node.op == "Clip":
            for name in node.inputs[1:]:
                if name:
                    graph.scalar(node, name)
        return cls(node, node.inputs[:1], graph.sizes[node.outputs[0]])

    def print(self, scope: Scope) -> list[str]:
        machine = scope.machine
        if self.node.op == "Tanh" and machine.fpu and not machine.vectors and machine.accuracy == "exact" and self.size >= 4:
            # Vectorizing compilers interleave by themselves; on a small core it is written out (math_tanh_many.c).
            return [*pointers(scope, self.output, x=self.reads[0]), f"{scope.call('tanh_many')}(x, y, {self.size});"]
        formula = FORMULAS[self.node.op](self.node, scope.graph, scope)
        return [
            *pointers(scope, self.output, x=self.reads[0]),
            f"for (int i = 0; i < {self.size}; ++i) y[i] = {formula};",
        ]
