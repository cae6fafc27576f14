"""A rewrite: QuantizeLinear with its DequantizeLinear, on one constant grid, becomes FakeQuantize."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from .constants import Constant, as_array
from .graph import Node


def fuse_quantizers(nodes: Sequence[Node], constants: Mapping[str, Constant]) -> list[Node]:
    """Requires: nodes in order. Ensures: no QuantizeLinear and DequantizeLinear is left, or raises Unsupported.

    FakeQuantize has the attributes scale (float32), zero, low and high (integers): what comes out is
    (clip(round_half_even(x / scale) + zero, low, high) - zero) * scale.
    """
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
