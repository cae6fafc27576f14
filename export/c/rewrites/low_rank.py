"""Rewrite: two dense layers with nothing between them become one, where that is cheaper on the machine."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np

from ..graph import Graph, Node
from ..kernels import KERNELS, DenseLayer, choose
from ..machine import Machine


def low_rank(graph: Graph, machine: Machine) -> Graph:
    """Ensures: a product of two layers is left only where it costs less than its result, by the kernels' own estimate.

    Products are taken in float64 and rounded once. int8 weights stay as they are: their product is none.
    """
    readers = Counter(name for node in graph.nodes for name in node.inputs)
    nodes: list[Node] = []
    made: dict[str, int] = {}
    for node in graph.nodes:
        while node.op == "Dense" and node.inputs:
            source = node.inputs[0]
            if readers[source] != 1 or source in graph.outputs or source not in made:
                break
            before = nodes[made[source]]
            product = _product(before.attributes["layer"], node.attributes["layer"], machine)
            if product is None:
                break
            nodes[made.pop(source)] = _GONE
            node = dataclasses.replace(node, inputs=before.inputs, attributes={"layer": product})
        if node.op == "Dense":
            made[node.outputs[0]] = len(nodes)
        nodes.append(node)
    return dataclasses.replace(graph, nodes=[node for node in nodes if node is not _GONE])


def _product(first: DenseLayer, second: DenseLayer, machine: Machine) -> DenseLayer | None:
    """second(first(x)) as one layer, or None where that is not possible or not cheaper."""
    if first.activation is not None or first.scale is not None or second.scale is not None:
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        wide = second.weight.astype(np.float64)
        weight = (wide @ first.weight.astype(np.float64)).astype(np.float32)
        bias = (wide @ first.bias.astype(np.float64) + second.bias).astype(np.float32)
    if not np.isfinite(weight).all() or not np.isfinite(bias).all():
        return None
    product = dataclasses.replace(second, name=f"{first.name} {second.name}", weight=weight, bias=bias)
    return product if _cycles(product, machine) <= _cycles(first, machine) + _cycles(second, machine) else None


def _cycles(layer: DenseLayer, machine: Machine) -> float:
    chosen, choice = choose(layer, machine, KERNELS)
    return choice.cycles[chosen.name]


_GONE = Node("", "", (), ())
