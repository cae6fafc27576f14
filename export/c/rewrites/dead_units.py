"""Rewrite: only live units are computed. What never changes goes into the next bias, what nobody reads goes away.

A *group* is what must keep the same entries: the values that elementwise operations join. An entry of a group goes
if every dense layer that reads it has zeros there, or if it is known before the policy runs (a unit whose incoming
weights are all zero is f(bias)): then it is folded into the bias of the reader, in float64, rounded once. What other
operations (LayerNorm, Softmax, the views and states of recurrent cells, the outputs) read stays whole.

As everywhere, a zero weight costs nothing: a NaN or an infinity that meets only zero weights does not reach the action.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from ..float64 import elementwise, evaluate
from ..graph import Graph, Node
from ..kernels import DenseLayer
from ..machine import Machine


def dead_units(graph: Graph, _: Machine) -> Graph:
    """Requires: lifted dense layers. Ensures: no unit inside the graph is constant or unread, but where it must stay."""
    inner = {n.outputs[0]: n for n in graph.nodes if _shrinks(n, graph)}
    known = _known(graph, inner)
    groups = _groups(graph, inner)
    keep = _kept(graph, inner, known, groups)
    return _without_unread(_shrunk(graph, inner, known, {name: keep[groups[name]] for name in groups}))


def _shrinks(node: Node, graph: Graph) -> bool:
    """Can the node compute some entries of its output and leave out others?"""
    return elementwise(node, graph) or (node.op == "Dense" and node.attributes["layer"].activation is None)


def _known(graph: Graph, inner: dict[str, Node]) -> dict[str, np.ndarray]:
    """Value -> float64 [size] of what does not depend on an input; NaN for all other entries."""
    known = {name: np.full(size, np.nan) for name, size in graph.sizes.items()}
    for name, node in inner.items():
        if node.op != "Dense":
            known[name] = evaluate(node, graph, known)
            continue
        layer: DenseLayer = node.attributes["layer"]
        x = known[node.inputs[0]] if node.inputs else np.zeros(0)
        still = np.isfinite(x)
        value = layer.bias + _products(layer, x, still)
        known[name] = np.where((layer.weight[:, ~still] != 0).any(1) | ~np.isfinite(value.astype(np.float32)), np.nan, value)
    return known


def _products(layer: DenseLayer, x: np.ndarray, which: np.ndarray) -> np.ndarray:
    """What the inputs ``which`` add to every output, in float64."""
    total = layer.weight[:, which].astype(np.float64) @ x[which]
    return total if layer.scale is None else layer.scale.astype(np.float64) * total


def _groups(graph: Graph, inner: dict[str, Node]) -> dict[str, str]:
    """Value -> the name of its group, for all values that a shrinking node reads or computes."""
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        parent.setdefault(name, name)
        while parent[name] != name:
            parent[name] = name = parent[parent[name]]
        return name

    for name, node in inner.items():
        root(name)
        for source in node.inputs:
            if source in graph.sizes and node.op != "Dense":
                parent[root(source)] = root(name)
    for node in graph.nodes:
        if node.op == "Dense" and node.inputs:
            root(node.inputs[0])
    return {name: root(name) for name in parent}


def _kept(graph: Graph, inner: dict[str, Node], known: dict[str, np.ndarray], groups: dict[str, str]) -> dict[str, np.ndarray]:
    """Group -> bool [size] of the entries that stay: the least that everybody can live with."""
    keep = {group: np.zeros(graph.sizes[group], bool) for group in groups.values()}
    pinned = set(graph.outputs)
    for node in graph.nodes:
        if node.op != "Dense" and (not node.outputs or inner.get(node.outputs[0]) is not node):
            pinned |= set(node.inputs)
    for name in pinned & set(inner):
        keep[groups[name]][:] = True
    while _spread(graph, inner, known, groups, keep) or _spare_copies(inner, groups, keep):
        pass
    return keep


def _spread(
    graph: Graph,
    inner: dict[str, Node],
    known: dict[str, np.ndarray],
    groups: dict[str, str],
    keep: dict[str, np.ndarray],
) -> bool:
    """Keep what the kept rows of dense layers read; False if that was so already."""
    changed = False
    for node in graph.nodes:
        if node.op != "Dense" or not node.inputs:
            continue
        source = node.inputs[0]
        rows = keep[groups[node.outputs[0]]] if node.outputs[0] in inner else slice(None)
        needed = (node.attributes["layer"].weight[rows] != 0).any(0) & np.isnan(known[source])
        mask = keep[groups[source]]
        changed |= bool((needed & ~mask).any())
        mask |= needed
    return changed


def _spare_copies(inner: dict[str, Node], groups: dict[str, str], keep: dict[str, np.ndarray]) -> bool:
    """What others compute is picked apart only where the copies cost less than the work that they save.

    False if that was so already.
    """
    operations: dict[str, int] = {}
    for name, node in inner.items():
        operations[groups[name]] = operations.get(groups[name], 0) + (node.op != "Dense")
    changed = False
    for group in {group for name, group in groups.items() if name not in inner}:
        mask = keep[group]
        saved = operations.get(group, 0) * np.count_nonzero(~mask)
        if mask.any() and saved < np.count_nonzero(mask):
            first, last = np.flatnonzero(mask)[[0, -1]]
            changed |= not mask[first : last + 1].all()
            mask[first : last + 1] = True  # one stretch is a view, and a view costs nothing
    return changed


def _shrunk(graph: Graph, inner: dict[str, Node], known: dict[str, np.ndarray], keep: dict[str, np.ndarray]) -> Graph:
    """The graph with only the entries ``keep`` (value -> bool [size]) of every value."""
    constants, sizes = dict(graph.constants), dict(graph.sizes)
    nodes: list[Node] = []
    renamed: dict[str, str] = {}

    def source_of(name: str) -> str:
        """The shrunk version of what ``name`` was."""
        if name in inner or keep[name].all():
            return name
        if name not in renamed:
            renamed[name] = f"{name}/used"
            sizes[renamed[name]] = int(np.count_nonzero(keep[name]))
            nodes.extend(_picked(name, keep[name], renamed[name], constants, sizes))
        return renamed[name]

    for node in graph.nodes:
        if node.op == "Dense":
            node = _smaller_dense(node, inner, known, keep)
            if not node.attributes["layer"].rows:
                continue
            if node.inputs:
                node = dataclasses.replace(node, inputs=(source_of(node.inputs[0]),))
        elif node.outputs and inner.get(node.outputs[0]) is node:
            mask = keep[node.outputs[0]]
            if not mask.any():
                continue
            names = []
            for name in node.inputs:
                if name in graph.sizes:
                    name = source_of(name)
                elif name and not mask.all() and graph.vector(node, name).size > 1:
                    part = f"{name}/of {node.outputs[0]}"
                    constants[part], name = graph.vector(node, name)[mask], part
                names.append(name)
            node = dataclasses.replace(node, inputs=tuple(names))
        nodes.append(node)
    for name in inner:
        sizes[name] = int(np.count_nonzero(keep[name]))
    return dataclasses.replace(graph, nodes=nodes, sizes=sizes, constants=constants)


def _smaller_dense(node: Node, inner: dict[str, Node], known: dict[str, np.ndarray], keep: dict[str, np.ndarray]) -> Node:
    layer: DenseLayer = node.attributes["layer"]
    rows = keep[node.outputs[0]] if node.outputs[0] in inner else np.ones(layer.rows, bool)
    bias, columns = layer.bias, np.zeros(0, bool)
    if node.inputs:
        columns = keep[node.inputs[0]]
        x = known[node.inputs[0]]
        gone = ~columns & np.isfinite(x)
        if gone.any():
            bias = (layer.bias + _products(layer, x, gone)).astype(np.float32)
    if rows.all() and columns.all() and node.inputs:
        return node
    smaller = dataclasses.replace(
        layer,
        weight=np.ascontiguousarray(layer.weight[rows][:, columns]),
        scale=None if layer.scale is None else layer.scale[rows],
        bias=bias[rows],
    )
    return dataclasses.replace(node, inputs=node.inputs if columns.any() else (), attributes={"layer": smaller})


def _picked(name: str, mask: np.ndarray, output: str, constants: dict, sizes: dict[str, int]) -> list[Node]:
    """Nodes that compute ``name[mask]``: a view of every stretch, and a copy where there are several."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    stretches = list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))
    nodes, parts = [], []
    for start, stop in stretches:
        part = output if len(stretches) == 1 else f"{output} {start}"
        sizes[part] = stop - start
        ends = [f"{part}/from", f"{part}/to"]
        constants |= {ends[0]: np.array([start], np.int64), ends[1]: np.array([stop], np.int64)}
        nodes.append(Node("Slice", f"used part of {name}", (name, *ends), (part,)))
        parts.append(part)
    if len(parts) > 1:
        nodes.append(Node("Concat", f"used parts of {name}", tuple(parts), (output,)))
    return nodes


def _without_unread(graph: Graph) -> Graph:
    """Without the nodes whose results nobody reads."""
    wanted, nodes = set(graph.outputs), []
    for node in reversed(graph.nodes):
        if wanted & set(node.outputs):
            wanted |= set(node.inputs)
            nodes.append(node)
    return dataclasses.replace(graph, nodes=nodes[::-1])
