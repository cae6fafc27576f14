"""Rewrite: neighbouring elementwise operations on vectors of one size become one loop."""

from __future__ import annotations

import dataclasses
from collections import Counter

from ..graph import Graph, Node
from ..machine import Machine


def fuse_elementwise(graph: Graph, _: Machine) -> Graph:
    """Ensures: no two neighbours are elementwise on floats and equally long; a Fused node holds what they were.

    Its attribute ``nodes`` are the operations in order; its outputs are those values that somebody else reads.
    """
    readers = Counter(name for node in graph.nodes for name in node.inputs)
    nodes: list[Node] = []
    group: list[Node] = []
    for node in graph.nodes:
        if group and not (_elementwise(node, graph) and _size(node, graph) == _size(group[0], graph)):
            nodes += _fused(group, graph, readers)
            group = []
        if _elementwise(node, graph):
            group.append(node)
        else:
            nodes.append(node)
    return dataclasses.replace(graph, nodes=[*nodes, *_fused(group, graph, readers)])


def _elementwise(node: Node, graph: Graph) -> bool:
    from ..operators.activation import FORMULAS as ACTIVATIONS  # operators import kernels, which rewrites make
    from ..operators.elementwise import FORMULAS as ARITHMETIC

    return (node.op in ARITHMETIC or node.op in ACTIVATIONS) and all(
        graph.kind(name) == "float" for name in (*node.inputs, *node.outputs)
    )


def _size(node: Node, graph: Graph) -> int:
    return graph.sizes[node.outputs[0]]


def _fused(group: list[Node], graph: Graph, readers: Counter[str]) -> list[Node]:
    if len(group) < 2:
        return group
    made = {node.outputs[0] for node in group}
    inside = Counter(name for node in group for name in node.inputs)
    needed = [node.outputs[0] for node in group if readers[node.outputs[0]] > inside[node.outputs[0]]]
    needed += [node.outputs[0] for node in group if node.outputs[0] in graph.outputs and node.outputs[0] not in needed]
    if not needed:
        return []
    live = set(needed)
    for node in reversed(group):
        live |= set(node.inputs) if node.outputs[0] in live else set()
    group = [node for node in group if node.outputs[0] in live]
    outside = dict.fromkeys(name for node in group for name in node.inputs if name and name not in made)
    name = " ".join(node.op for node in group)
    return [Node("Fused", name, tuple(outside), tuple(needed), {"nodes": tuple(group)})]
