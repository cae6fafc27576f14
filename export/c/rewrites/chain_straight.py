"""Rewrite: layers that follow each other and are straight-line code become one piece of it."""

from __future__ import annotations

import dataclasses
from collections import Counter

from ..graph import Graph, Node
from ..kernels import KERNELS, DenseLayer, choose
from ..kernels.straight import max_live
from ..machine import Machine

MAX_UNITS = 512
"""Units between the layers of one piece: each may need 4 bytes of stack."""


def chain_straight(graph: Graph, machine: Machine) -> Graph:
    """Ensures: no two ``straight`` layers stand one behind the other, but where the code would get too large."""
    readers = Counter(name for node in graph.nodes for name in node.inputs)
    nodes: list[Node] = []
    chains: dict[str, int] = {}
    for node in graph.nodes:
        if node.op != "Dense" or not node.inputs or not _straight(node.attributes["layer"], machine):
            nodes.append(node)
            continue
        source = node.inputs[0]
        layers: tuple[DenseLayer, ...] = (node.attributes["layer"],)
        before = chains.pop(source, None) if readers[source] == 1 and source not in graph.outputs else None
        if before is not None and _fits(nodes[before], layers[0], machine):
            layers = (*_layers(nodes[before]), *layers)
            node = dataclasses.replace(node, op="Chain", inputs=nodes[before].inputs, attributes={"layers": layers})
            nodes[before] = _GONE
        chains[node.outputs[0]] = len(nodes)
        nodes.append(node)
    return dataclasses.replace(graph, nodes=[node for node in nodes if node is not _GONE])


def _straight(layer: DenseLayer, machine: Machine) -> bool:
    return choose(layer, machine, KERNELS)[0].name == "straight"


def _layers(node: Node) -> tuple[DenseLayer, ...]:
    return node.attributes["layers"] if node.op == "Chain" else (node.attributes["layer"],)


def _fits(before: Node, layer: DenseLayer, machine: Machine) -> bool:
    layers = _layers(before)
    units = sum(each.rows for each in layers)
    return units <= MAX_UNITS and sum(each.live for each in layers) + layer.live <= max_live(machine)


_GONE = Node("", "", (), ())
