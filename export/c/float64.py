"""What the elementwise operators compute, in float64: for what is known before the policy runs."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .graph import Graph, Node

TIE_MARGIN = 1e-4
"""A number this near to the middle between two grid points (in grid steps) may round differently in float32."""


def _fake_quantize(node: Node, x: np.ndarray) -> np.ndarray:
    scale, zero, low, high = (node.attributes[key] for key in ("scale", "zero", "low", "high"))
    steps = x / scale
    near_a_tie = np.abs(steps - np.floor(steps) - 0.5) < TIE_MARGIN
    return np.where(near_a_tie, np.nan, (np.clip(np.rint(steps) + zero, low, high) - zero) * scale)


UNARY: dict[str, Callable[[Node, np.ndarray], np.ndarray]] = {
    "Tanh": lambda _, x: np.tanh(x),
    "Sigmoid": lambda _, x: 1.0 / (1.0 + np.exp(-x)),
    "Exp": lambda _, x: np.exp(x),
    "Relu": lambda _, x: np.maximum(x, 0.0),
    "LeakyRelu": lambda node, x: np.where(x < 0, np.float32(node.attributes.get("alpha", 0.01)) * x, x),
    "Elu": lambda node, x: np.where(x < 0, np.float32(node.attributes.get("alpha", 1.0)) * np.expm1(np.minimum(x, 0.0)), x),
    "Softsign": lambda _, x: x / (1.0 + np.abs(x)),
    "Abs": lambda _, x: np.abs(x),
    "Neg": lambda _, x: -x,
    "FakeQuantize": _fake_quantize,
}
BINARY: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": np.divide,
    "Min": np.minimum,
    "Max": np.maximum,
}


def elementwise(node: Node, graph: Graph) -> bool:
    """Does entry i of the one output depend on entry i of every computed input and on constants, and do we know how?"""
    if len(node.outputs) != 1:
        return False
    size = graph.sizes[node.outputs[0]]
    if node.op in UNARY or node.op == "Clip":
        computed, others = node.inputs[:1], node.inputs[1:]
        return graph.sizes.get(computed[0]) == size and all(not name or name in graph.constants for name in others)
    if node.op not in BINARY or len(node.inputs) != 2:
        return False
    given = [graph.sizes[name] if name in graph.sizes else graph.vector(node, name).size for name in node.inputs]
    whole = all(graph.sizes.get(name, size) == size for name in node.inputs)
    return whole and any(name in graph.sizes for name in node.inputs) and all(n in (1, size) for n in given)


def evaluate(node: Node, graph: Graph, known: dict[str, np.ndarray]) -> np.ndarray:
    """The output of an ``elementwise`` node, float64 [size]; NaN where it depends on an input of the policy.

    ``known``: the same of its inputs.
    """
    size = graph.sizes[node.outputs[0]]
    with np.errstate(all="ignore"):
        if node.op == "Clip":
            bounds = [*node.inputs[1:], "", ""]
            low, high = (graph.scalar(node, name) if name else None for name in bounds[:2])
            y = known[node.inputs[0]].copy()
            y = y if low is None else np.maximum(y, low)
            y = y if high is None else np.minimum(y, high)
        elif node.op in UNARY:
            y = UNARY[node.op](node, known[node.inputs[0]])
        else:
            a, b = (
                known[name] if name in known else np.broadcast_to(graph.vector(node, name).astype(np.float64), size)
                for name in node.inputs
            )
            y = BINARY[node.op](a, b)
            if node.op == "Mul":
                # Whatever the other factor is, if it is finite: the same law by which a zero weight costs nothing.
                y = np.where((a == 0) | (b == 0), 0.0, y)
    return np.where(np.isfinite(y), y, np.nan)
