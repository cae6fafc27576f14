"""Rewrite: x * sigmoid(x) becomes one Silu where activations are of the fast variant, whose sigmoid errs absolutely.

Times a large x, that error would be large; policy_silu has a bound of its own. The exact sigmoid errs relatively, and
fuse_elementwise puts both into one loop anyway.
"""

from __future__ import annotations

import dataclasses
from collections import Counter

from ..graph import Graph, Node
from ..machine import Machine


def fuse_silu(graph: Graph, machine: Machine) -> Graph:
    """Ensures: with fast activations no Mul has the Sigmoid of one side as its other side."""
    if machine.accuracy != "fast":
        return graph
    gates = {node.outputs[0]: node.inputs[0] for node in graph.nodes if node.op == "Sigmoid"}
    nodes = [_silu(node, gates) for node in graph.nodes]
    readers = Counter(name for node in nodes for name in node.inputs)
    kept = [n for n in nodes if not (n.op == "Sigmoid" and not readers[n.outputs[0]] and n.outputs[0] not in graph.outputs)]
    return dataclasses.replace(graph, nodes=kept)


def _silu(node: Node, gates: dict[str, str]) -> Node:
    if node.op == "Mul":
        for x, gate in (node.inputs, node.inputs[::-1]):
            if gates.get(gate) == x:
                return Node("Silu", node.name, (x,), node.outputs)
    return node
