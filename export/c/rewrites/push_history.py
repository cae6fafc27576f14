"""Rewrite: a history that is sliced, extended and handed back as the next state is shifted where it lives."""

from __future__ import annotations

import dataclasses
from collections import Counter

from ..graph import Graph, Node
from ..machine import Machine


def push_history(graph: Graph, _: Machine) -> Graph:
    """Ensures: Concat(Slice(state_in, n:), newest of n) that becomes state_out is one Push onto the state itself.

    Requires that nothing else reads the old state, which is overwritten; else the graph stays as it is.
    """
    made = {name: node for node in graph.nodes for name in node.outputs}
    readers = Counter(name for node in graph.nodes for name in node.inputs)
    pushes: dict[str, Node] = {}
    gone: set[str] = set()
    for node in graph.nodes:
        found = _pushed(node, graph, made, readers) if node.op == "Concat" and len(node.inputs) == 2 else None
        if found is not None:
            pushes[node.outputs[0]] = found
            gone.add(node.inputs[0])
    nodes = [pushes.get(node.outputs[0], node) for node in graph.nodes if node.outputs[0] not in gone]
    return dataclasses.replace(graph, nodes=nodes)


def _pushed(node: Node, graph: Graph, made: dict[str, Node], readers: Counter[str]) -> Node | None:
    kept, newest = node.inputs
    slice_ = made.get(kept)
    if slice_ is None or slice_.op != "Slice" or readers[kept] != 1 or kept in graph.outputs or newest not in graph.sizes:
        return None
    state, stacked = slice_.inputs[0], node.outputs[0]
    if not state.startswith("state_in_") or state not in graph.inputs or readers[state] != 1:
        return None
    size, count = graph.sizes[state], graph.sizes[newest]
    following = made.get(state.replace("state_in_", "state_out_", 1))
    copied = following is not None and following.op == "Identity" and following.inputs[0] == stacked
    # Sizes say that the Slice dropped as many entries as are new; its start says that they were the oldest.
    first = graph.integers(slice_, slice_.inputs[1])
    stepped = len(slice_.inputs) > 4 and slice_.inputs[4] and graph.integers(slice_, slice_.inputs[4]) != [1]
    right = graph.sizes[stacked] == size and first in ([count], [count - size]) and not stepped
    return Node("Push", node.name, (state, newest), (stacked,)) if copied and right else None
