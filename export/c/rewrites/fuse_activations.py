"""Rewrite: a dense layer takes over the cheap activation that alone reads it."""

from __future__ import annotations

import dataclasses
from collections import Counter

from ..graph import Graph
from ..machine import Machine

CHEAP = frozenset({"Relu", "LeakyRelu"})
"""Worth repeating for every output of a block. tanh and its like are printed once, in a loop of their own: inlined
for each of eight outputs they would cost more flash than the weights of a small layer."""


def fuse_activations(graph: Graph, machine: Machine) -> Graph:
    """Ensures: on machines without vector registers no cheap activation stands alone behind a dense layer or a convolution.

    Vector code applies activations in loops that the compiler turns into vector code itself.
    """
    if machine.vectors:
        return graph
    readers = Counter(name for node in graph.nodes for name in node.inputs)
    dense = {node.outputs[0]: index for index, node in enumerate(graph.nodes) if node.op in ("Dense", "Conv")}
    nodes, gone = list(graph.nodes), set()
    for index, node in enumerate(graph.nodes):
        source = node.inputs[0] if node.inputs else ""
        if node.op not in CHEAP or source not in dense or readers[source] != 1 or source in graph.outputs:
            continue
        before = nodes[dense[source]]
        layer = dataclasses.replace(before.attributes["layer"], activation=node)
        nodes[dense[source]] = dataclasses.replace(
            before, outputs=(*node.outputs, *before.outputs[1:]), attributes=before.attributes | {"layer": layer}
        )
        gone.add(index)
    return dataclasses.replace(graph, nodes=[node for index, node in enumerate(nodes) if index not in gone])
