"""Rewrite: dense layers and convolutions with int8 weights whose input lies on an integer grid are computed in integers."""

from __future__ import annotations

import dataclasses
from collections import Counter

import numpy as np

from ..graph import Graph, Kind, Node
from ..kernels import DenseLayer
from ..kernels.int8_vector import FUNCTIONS
from ..kernels.integer_layer import FixedPoint, IntegerLayer, fixed_point, storage
from ..machine import Machine
from ..staircase import Grid, Staircase, function_of, staircase
from .lift_conv import with_patch

INTEGERS = ("DenseInteger", "ConvInteger")
"""What dense layers and convolutions become."""
STEP_BITS = (16, 13, 10)
"""Bits below one cell of a staircase, or below one step of a grid: as many as 31 bits leave room for; layers that agree share
a table."""
LARGEST_ERROR_STEPS = 2.0**-6
"""Integers are only used where they move a value by less than this share of a step before it is rounded."""
FEWEST_ROWS = 4
"""With a floating-point unit, a layer of fewer outputs is not worth a table."""


def integers(graph: Graph, machine: Machine) -> Graph:
    """Ensures: where all readers of a FakeQuantize are dense layers with int8 weights, it is a Quantize that stores integers.

    The layers become DenseInteger and ConvInteger: their result is float, or goes through the activation behind it straight
    to the next grid: in integers without vector registers (a staircase for tanh and its like, shifts for ReLU, Clip and none),
    in floats that never leave the registers where there are some (tanh, ReLU, Clip and none).
    What comes out is what the graph before computes in real arithmetic, except that a value within LARGEST_ERROR_STEPS
    of the middle between two levels may get either, as it may with rounded floats.
    """
    if machine.vectors and not machine.int8_dot:
        return graph
    readers: dict[str, list[Node]] = {}
    for node in graph.nodes:
        for name in node.inputs:
            readers.setdefault(name, []).append(node)
    grids: dict[str, Grid] = {}
    layers: dict[int, IntegerLayer] = {}
    for node in graph.nodes:
        if node.op != "FakeQuantize" or node.outputs[0] in graph.outputs:
            continue
        grid = Grid(*(node.attributes[k] for k in ("scale", "zero", "low", "high")))
        behind = [(n, _integer_layer(n, grid, machine)) for n in readers.get(node.outputs[0], [])]
        if behind and all(layer is not None for _, layer in behind):
            grids[node.outputs[0]] = grid
            layers |= {id(n): layer for n, layer in behind if layer is not None}
    sizes = dict(graph.sizes)
    kinds = dict(graph.kinds) | {name: storage(grid, machine).kind for name, grid in grids.items()}
    nodes = [_converted(node, grids, layers, machine, sizes, kinds) for node in graph.nodes]
    graph = dataclasses.replace(graph, nodes=nodes, kinds=kinds, sizes=sizes)
    return _with_nan(_straight_to_the_grid(graph, machine))


def _converted(
    node: Node,
    grids: dict[str, Grid],
    layers: dict[int, IntegerLayer],
    machine: Machine,
    sizes: dict[str, int],
    kinds: dict[str, Kind],
) -> Node:
    if id(node) in layers:
        attributes = node.attributes | {"layer": layers[id(node)]}
        made = dataclasses.replace(node, op=f"{node.op}Integer", inputs=node.inputs[:1], attributes=attributes)
        return made if node.op == "Dense" else with_patch(made, sizes, kinds, layers[id(node)].inputs.kind)
    if node.op == "FakeQuantize" and node.outputs[0] in grids:
        grid = grids[node.outputs[0]]
        return Node("Quantize", node.name, node.inputs, node.outputs, {"grid": grid, "storage": storage(grid, machine)})
    return node


def _integer_layer(node: Node, grid: Grid, machine: Machine) -> IntegerLayer | None:
    """The layer of a Dense or Conv ``node`` for inputs on ``grid``; None for others, float weights or sums beyond 32 bits."""
    layer = node.attributes.get("layer")
    if (
        node.op not in ("Dense", "Conv")
        or not isinstance(layer, DenseLayer)
        or layer.scale is None
        or layer.activation is not None
    ):
        return None
    inputs = storage(grid, machine)
    scale = layer.scale.astype(np.float64) * grid.scale
    at_zero = layer.weight.astype(np.float64).sum(axis=1) * (inputs.origin - grid.zero)
    bias = layer.bias.astype(np.float64) + scale * at_zero
    made = IntegerLayer(layer.name, layer.weight, scale, bias, inputs, grid)
    return made if (made.largest_sum < 1 << 31).all() else None


def _straight_to_the_grid(graph: Graph, machine: Machine) -> Graph:
    """A DenseInteger takes over the activation and the Quantize that alone read it."""
    count = Counter(name for node in graph.nodes for name in node.inputs)
    reader = {name: node for node in graph.nodes for name in node.inputs}
    gone: set[int] = set()
    swapped: dict[int, Node] = {}
    for node in graph.nodes:
        if node.op not in INTEGERS:
            continue
        chain = [node]
        while len(chain) < 4 and chain[-1].op != "Quantize":
            value = chain[-1].outputs[0]
            if count[value] != 1 or value in graph.outputs or reader[value].inputs[0] != value:
                break
            chain.append(reader[value])
        if chain[-1].op != "Quantize":
            continue
        layer = _ended(node.attributes["layer"], chain[1:-1], chain[-1].attributes["grid"], graph, machine)
        if layer is not None:
            outputs, attributes = (chain[-1].outputs[0], *node.outputs[1:]), node.attributes | {"layer": layer}
            swapped[id(chain[-1])] = dataclasses.replace(node, outputs=outputs, attributes=attributes)
            gone |= {id(n) for n in chain[:-1]}
    nodes = [swapped.get(id(node), node) for node in graph.nodes if id(node) not in gone]
    return dataclasses.replace(graph, nodes=nodes)


def _ended(layer: IntegerLayer, functions: list[Node], grid: Grid, graph: Graph, machine: Machine) -> IntegerLayer | None:
    """``layer`` with an end on a grid: the functions behind it, then ``grid``; None where floats must do that."""
    outputs = storage(grid, machine)
    limits = _limits(functions, grid, graph)
    if machine.vectors:
        op = "" if limits is not None else " ".join(function.op for function in functions)
        if op not in FUNCTIONS or (op and machine.accuracy != "exact"):
            return None
        return dataclasses.replace(layer, grid=grid, outputs=outputs, function=op, limits=limits or (grid.low, grid.high))
    for bits in STEP_BITS:
        stairs: Staircase | None = None
        fixed: FixedPoint | None = None
        if limits is not None:
            # v counts 2^bits to a step from the stored 0, and half a step more: a shift rounds to the nearest.
            unit = grid.scale / 2.0**bits
            fixed = fixed_point(layer, unit, (outputs.origin - grid.zero - 0.5) * grid.scale, bits)
        elif len(functions) == 1 and (machine.fpu is False or layer.rows >= FEWEST_ROWS):
            stairs = staircase(functions[0], grid, bits)
            fixed = None if stairs is None else fixed_point(layer, stairs.unit, stairs.origin, bits)
        if fixed is not None and fixed.error_steps < LARGEST_ERROR_STEPS:
            return dataclasses.replace(
                layer, fixed=fixed, grid=grid, outputs=outputs, stairs=stairs, limits=limits or (grid.low, grid.high)
            )
    return None


def _with_nan(graph: Graph) -> Graph:
    """A broken float that becomes an integer is remembered beside it, until integers become floats again."""
    carried: dict[str, str] = {}
    nodes, sizes = [], dict(graph.sizes)
    for node in graph.nodes:
        source = carried.get(node.inputs[0]) if node.inputs else None
        if node.op == "Quantize" and source is None:
            source = f"{node.outputs[0]}/broken"
            sizes[source] = 1
            node = dataclasses.replace(node, outputs=(*node.outputs, source))
        elif node.op in INTEGERS and source is not None and node.attributes["layer"].grid is None:
            node = dataclasses.replace(node, inputs=(*node.inputs, source))
        if source is not None and (node.op in ("Quantize", *INTEGERS, "Relu", "Clip") or function_of(node) is not None):
            carried[node.outputs[0]] = source
        nodes.append(node)
    return dataclasses.replace(graph, nodes=nodes, sizes=sizes)


def _limits(functions: list[Node], grid: Grid, graph: Graph) -> tuple[int, int] | None:
    """(smallest, largest) q where the functions only limit a value, or None for others."""
    low, high = float(grid.low), float(grid.high)
    for node in functions:
        if node.op == "Relu":
            bounds: list[float | None] = [0.0, None]
        elif node.op == "Clip":
            bounds = [graph.scalar(node, n) if n else None for n in [*node.inputs[1:], "", ""][:2]]
        else:
            return None
        steps = [None if b is None else float(np.round(b / grid.scale)) + grid.zero for b in bounds]
        low = low if steps[0] is None else min(max(low, steps[0]), high)
        high = high if steps[1] is None else max(min(high, steps[1]), low)
    return int(low), int(high)
