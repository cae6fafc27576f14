"""Operators that compute nothing: views (Split, Slice, Reshape …) and copies (Concat)."""

from __future__ import annotations

from dataclasses import dataclass

from ..graph import Graph, Node
from ..memory import Step
from .gather import Gather
from .operator import Printed, Scope


@dataclass
class View:
    """Every output is a stretch of the input; no C is printed."""

    node: Node
    starts: tuple[int, ...]

    @classmethod
    def read(cls, node: Node, graph: Graph) -> View | Gather:
        step = _slice_step(node, graph)
        if step != 1:
            size = graph.sizes[node.inputs[0]]
            start, stop = (graph.integers(node, node.inputs[k])[0] for k in (1, 2))
            return Gather.of(node, size, list(range(size))[start:stop:step])
        if node.op == "Slice":
            return cls(node, (_slice_start(node, graph),))
        starts, at = [], 0
        for name in node.outputs:
            starts.append(at)
            at += graph.sizes[name] if name else 0
        if at != graph.sizes[node.inputs[0]]:
            raise node.refuse(f"outputs of {graph.sizes[node.inputs[0]]} values together", f"{at}")
        return cls(node, tuple(starts))

    def step(self) -> Step:
        source = self.node.inputs[0]
        views = {name: (source, start) for name, start in zip(self.node.outputs, self.starts, strict=True) if name}
        return Step((source,), (), views)

    def print(self, _: Scope) -> list[str]:
        return []


def _slice_step(node: Node, graph: Graph) -> int:
    """1 for everything but a Slice along one axis with another step."""
    if node.op != "Slice" or len(node.inputs) < 5 or not node.inputs[4]:
        return 1
    steps = graph.integers(node, node.inputs[4])
    if all(step == 1 for step in steps):
        return 1
    if len(steps) != 1:
        raise node.refuse("one sliced axis", f"steps {steps}")
    return steps[0]


def _slice_start(node: Node, graph: Graph) -> int:
    """Slice(data, starts, ends, axes, steps) along the one axis that has more than one entry."""
    size, wanted = graph.sizes[node.inputs[0]], graph.sizes[node.outputs[0]]
    starts = graph.integers(node, node.inputs[1])
    if wanted == size:
        return 0
    # Axes of length 1 can only be sliced from 0 (or -1): the other start is the one that counts.
    if len(starts) != 1:
        raise node.refuse("one sliced axis", f"{len(starts)}")
    return starts[0] if starts[0] >= 0 else max(size + starts[0], 0)


@dataclass
class Copy(Printed):
    """y = the inputs, one after the other."""

    sizes: tuple[int, ...] = ()

    @classmethod
    def read(cls, node: Node, graph: Graph) -> Copy:
        sizes = tuple(graph.sizes[n] if n in graph.sizes else graph.vector(node, n).size for n in node.inputs)
        return cls(node, tuple(n for n in node.inputs if n in graph.sizes), graph.sizes[node.outputs[0]], sizes)

    def print(self, scope: Scope) -> list[str]:
        lines, at = [f"float *const y = {scope.at(self.output)};"], 0
        for name, size in zip(self.node.inputs, self.sizes, strict=True):
            lines.append(f"for (int i = 0; i < {size}; ++i) y[{at} + i] = ({scope.at(name)})[i];")
            at += size
        return lines
