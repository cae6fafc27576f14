"""Rewrite: a value under another shape is the same value."""

from __future__ import annotations

import dataclasses

from ..graph import Graph
from ..machine import Machine

SAME = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose"})


def drop_views(graph: Graph, _: Machine) -> Graph:
    """Ensures: who reads a vector under another shape reads the vector itself; a graph output keeps its node."""
    names: dict[str, str] = {}
    nodes = []
    for node in graph.nodes:
        node = dataclasses.replace(node, inputs=tuple(names.get(name, name) for name in node.inputs))
        if node.op in SAME and node.outputs[0] not in graph.outputs and node.inputs[0] in graph.sizes:
            names[node.outputs[0]] = node.inputs[0]
        else:
            nodes.append(node)
    return dataclasses.replace(graph, nodes=nodes)
