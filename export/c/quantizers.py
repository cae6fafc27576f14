"""A rewrite: rounding to one constant grid, in either of the two forms that export/onnx.py writes, becomes FakeQuantize."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .constants import Constant, as_array
from .graph import Node


def fuse_quantizers(nodes: Sequence[Node], constants: Mapping[str, Constant]) -> list[Node]:
    """Requires: nodes in order. Ensures: no QuantizeLinear, DequantizeLinear and Round is left, or raises Unsupported.

    8 bits: QuantizeLinear, DequantizeLinear. 16 bits: Div by the step, Round, Clip to integers, Mul by the step.

    FakeQuantize has the attributes scale (float32), zero, low and high (integers): what comes out is
    (clip(round_half_even(x / scale) + zero, low, high) - zero) * scale.
    """
    nodes = _fuse_rounding(nodes, constants)
    quantized = {n.outputs[0]: n for n in nodes if n.op == "QuantizeLinear"}
    fused: list[Node] = []
    for node in nodes:
        if node.op == "DequantizeLinear":
            source = quantized.get(node.inputs[0])
            if source is None:
                raise node.refuse("a QuantizeLinear or a constant before it", f"{node.inputs[0]!r}")
            grid = _grid(source, constants)
            if grid != _grid(node, constants):
                raise node.refuse("the scale and zero point of its QuantizeLinear", "others")
            scale, zero, low, high = grid
            attributes = {"scale": scale, "zero": zero, "low": low, "high": high}
            fused.append(Node("FakeQuantize", node.name, (source.inputs[0],), node.outputs, attributes))
        elif node.op != "QuantizeLinear":
            fused.append(node)
    return fused


def _fuse_rounding(nodes: Sequence[Node], constants: Mapping[str, Constant]) -> list[Node]:
    """Div, Round, Clip and Mul on one grid of at most 16 bits, each read by the next alone, as FakeQuantize."""
    made = {name: node for node in nodes for name in node.outputs}
    readers = Counter(name for node in nodes for name in node.inputs)
    fused, gone = list(nodes), set()
    for index, node in enumerate(nodes):
        if node.op != "Round":
            continue
        chain = _chain(index, nodes, made, readers)
        steps, clip, back = chain if chain else (None, None, None)
        numbers = [_number(n, k, constants) for n, k in ((steps, 1), (clip, 1), (clip, 2), (back, 1))]
        if steps is None or clip is None or back is None or None in numbers or numbers[0] != numbers[3] or not numbers[0] > 0:
            raise node.refuse("Div by a constant step before it, and Clip and Mul by that step after it", "another use of Round")
        low, high = numbers[1], numbers[2]
        if low != round(low) or high != round(high) or not -65535 <= low <= 0 <= high <= 65535 or high - low > 65535:
            raise node.refuse("a grid of at most 65,536 integers around 0", f"[{low:g}, {high:g}]")
        # The zero point that makes the smallest integer -32768: which one is a matter of convention.
        zero = -(1 << 15) - int(low)
        attributes = {"scale": numbers[0], "zero": zero, "low": -(1 << 15), "high": int(high) + zero}
        fused[nodes.index(back)] = Node("FakeQuantize", node.name, steps.inputs[:1], back.outputs, attributes)
        gone |= {id(n) for n in (steps, node, clip)}
    return [node for node in fused if id(node) not in gone]


def _chain(index: int, nodes: Sequence[Node], made: Mapping[str, Node], readers: Mapping[str, int]) -> list[Node] | None:
    """The Div before the Round at ``index``, the Clip and the Mul after it."""
    before = made.get(nodes[index].inputs[0])
    chain, value = [before], nodes[index].outputs[0]
    for op in ("Clip", "Mul"):
        after = next((n for n in nodes[index:] if n.op == op and n.inputs[0] == value), None)
        if after is None or readers[value] != 1:
            return None
        chain.append(after)
        value = after.outputs[0]
    if before is None or before.op != "Div" or readers[before.outputs[0]] != 1:
        return None
    return chain  # type: ignore[return-value]


def _number(node: Node | None, position: int, constants: Mapping[str, Constant]) -> Any:
    """The one constant number at an input of ``node``, or None."""
    value = constants.get(node.inputs[position]) if node is not None and len(node.inputs) > position else None
    return None if value is None or as_array(value).size != 1 else float(as_array(value).reshape(-1)[0])


def _grid(node: Node, constants: Mapping[str, Constant]) -> tuple[float, int, int, int]:
    """(scale, zero point, smallest, largest integer)"""
    given = [constants.get(name) for name in node.inputs[1:] if name]
    values = [as_array(value) for value in given if value is not None]
    if not values or len(values) != len(given) or any(value.size != 1 for value in values):
        raise node.refuse("one constant scale and zero point per tensor", "several, or computed ones")
    scale, zero = values[0], values[1] if len(values) > 1 else np.zeros(1, np.uint8)
    if zero.dtype not in (np.int8, np.uint8) or scale.dtype != np.float32 or not scale.reshape(-1)[0] > 0:
        raise node.refuse("an int8 or uint8 grid with a float32 scale above 0", f"{zero.dtype} and {scale.reshape(-1)[0]}")
    limits = np.iinfo(zero.dtype)
    return float(scale.reshape(-1)[0]), int(zero.reshape(-1)[0]), int(limits.min), int(limits.max)
