"""Rewrites: graph -> graph that computes the same with less work. In this order; a new one is a file and a line."""

from __future__ import annotations

from collections.abc import Callable

from ..graph import Graph
from ..machine import Machine
from .fuse_activations import fuse_activations
from .lift_dense import lift_dense

REWRITES: tuple[Callable[[Graph, Machine], Graph], ...] = (lift_dense, fuse_activations)


def rewrite(graph: Graph, machine: Machine) -> Graph:
    """Apply all rewrites. None changes its argument."""
    for step in REWRITES:
        graph = step(graph, machine)
    return graph
