"""Rewrite: Gemm and MatMul with constant weights become Dense nodes, whose attribute ``layer`` is a DenseLayer."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np

from ..constants import HalfMatrix, Int8Rows
from ..graph import Graph, Node
from ..kernels import DenseLayer
from ..machine import Machine


def lift_dense(graph: Graph, machine: Machine) -> Graph:
    """Ensures: no Gemm and no MatMul is left; raises Unsupported for computed weights and computed biases.

    float16 weights stay what they are without vector registers; with them, where memory is plenty, they become float32.
    """
    readers = Counter(name for node in graph.nodes for name in node.inputs[1:2] if node.op in ("Gemm", "MatMul"))
    nodes = [
        _lifted(node, graph, readers, keep_half=not machine.vectors) if node.op in ("Gemm", "MatMul") else node
        for node in graph.nodes
    ]
    return dataclasses.replace(graph, nodes=nodes)


def _lifted(node: Node, graph: Graph, readers: Counter[str], *, keep_half: bool) -> Node:
    x, name = node.inputs[:2]
    attributes = node.attributes
    if attributes.get("transA", 0):
        raise node.refuse("transA = 0", "1")
    weight, scale = _oriented(node, graph, name, rows_are_outputs=bool(attributes.get("transB", 0)), keep_half=keep_half)
    rows, columns = weight.shape
    if x not in graph.sizes or graph.sizes[x] != columns:
        raise node.refuse(f"{columns} computed inputs", f"{graph.sizes.get(x, 'a constant')}")
    alpha, beta = float(attributes.get("alpha", 1.0)), float(attributes.get("beta", 1.0))
    if scale is not None:
        scale = (scale * alpha).astype(np.float32)
    elif alpha != 1:
        weight = (weight * alpha).astype(np.float32)
    bias = np.zeros(rows, np.float32)
    if len(node.inputs) > 2 and node.inputs[2]:
        if node.inputs[2] not in graph.constants:
            raise node.refuse("a constant bias", f"{node.inputs[2]!r}, which is computed")
        bias = np.broadcast_to(graph.vector(node, node.inputs[2]) * beta, rows).astype(np.float32)
    layer = DenseLayer(name, weight, scale, bias, hashed=graph.hashed.get(name), shared=readers[name] > 1)
    return Node("Dense", node.name, (x,), node.outputs, {"layer": layer})


def _oriented(
    node: Node, graph: Graph, name: str, *, rows_are_outputs: bool, keep_half: bool
) -> tuple[np.ndarray, np.ndarray | None]:
    """The weight as [out, in], with its per-output scale if it can stay int8."""
    constant = graph.matrix(node, name)
    if isinstance(constant, Int8Rows) and constant.axis == (0 if rows_are_outputs else 1):
        return (constant.values if rows_are_outputs else constant.values.T), constant.scale
    if isinstance(constant, HalfMatrix) and keep_half:
        return (constant.values if rows_are_outputs else constant.values.T), None
    dense = constant if isinstance(constant, np.ndarray) else constant.dense()
    if dense.dtype != np.float32:
        raise node.refuse("float32 weights", f"{dense.dtype}")
    return (dense if rows_are_outputs else dense.T), None
