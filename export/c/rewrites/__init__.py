"""Rewrites: graph -> graph that computes the same with less work. In this order; a new one is a file and a line."""

from __future__ import annotations

from collections.abc import Callable

from ..graph import Graph
from ..machine import Machine
from .chain_straight import chain_straight
from .dead_units import dead_units
from .drop_views import drop_views
from .fuse_activations import fuse_activations
from .fuse_elementwise import fuse_elementwise
from .fuse_silu import fuse_silu
from .integers import integers
from .lift_conv import lift_conv
from .lift_dense import lift_dense
from .low_rank import low_rank
from .push_history import push_history

REWRITES: tuple[Callable[[Graph, Machine], Graph], ...] = (
    drop_views,
    lift_dense,
    lift_conv,
    dead_units,
    low_rank,
    integers,
    fuse_activations,
    chain_straight,
    fuse_silu,
    fuse_elementwise,
    push_history,
)


def rewrite(graph: Graph, machine: Machine) -> Graph:
    """Apply all rewrites. None changes its argument."""
    for step in REWRITES:
        graph = step(graph, machine)
    return graph
