"""ONNX operators that change a value's shape, or take a part of it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from .onnx_constants import slice_arguments
from .onnx_node import Node
from .onnx_recurrent import StateIn, slice_state
from .signal import Misfit, Signal, StateOut


def _reshaped(node: Node) -> Any:
    """Reshape, Flatten, Squeeze, Unsqueeze: the values stay, the dimensions change."""
    value = node.inputs[0]
    if not isinstance(value, Signal):
        return value  # a recurrent state or a choice: its dimensions of 1 do not matter here
    shape = list(value.shape)
    axes = node.attributes.get("axes", node.constant(1) if len(node.inputs) > 1 else None)
    if node.op == "Reshape":
        return value.reshape(tuple(int(d) for d in node.constant(1).reshape(-1)))
    if node.op == "Flatten":
        axis = node.attributes.get("axis", 1)
        return value.reshape((math.prod(shape[:axis]), math.prod(shape[axis:])))
    if node.op == "Squeeze":
        drop = {i for i, d in enumerate(shape) if d == 1} if axes is None else {int(a) % len(shape) for a in np.reshape(axes, -1)}
        return value.reshape(tuple(d for i, d in enumerate(shape) if i not in drop))
    places = [int(a) for a in np.reshape(axes if axes is not None else (), -1)]
    rank = len(shape) + len(places)
    new = {place % rank for place in places}
    rest = iter(shape)
    return value.reshape(tuple(1 if i in new else next(rest) for i in range(rank)))


def _transpose(node: Node) -> Any:
    value = node.inputs[0]
    if not isinstance(value, Signal):
        return value
    if sum(d != 1 for d in value.shape) > 1:
        raise Misfit(f"a transpose of {list(value.shape)}")
    order = node.attributes.get("perm") or list(range(len(value.shape)))[::-1]
    return value.reshape(tuple(value.shape[i] for i in order))


def _slice(node: Node) -> Any:
    value = node.inputs[0]
    rank = 3 if isinstance(value, StateIn) else len(node.signal().shape)
    starts, ends, axes, steps = slice_arguments(node.inputs, node.attributes, rank)
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if step != 1:
            raise Misfit(f"a slice with step {step}")
        value = _part(value, axis, start, end)
    return value


def _part(value: Any, axis: int, start: int, stop: int) -> Any:
    if isinstance(value, StateIn):
        return slice_state(value, axis, start, stop)
    size = value.shape[axis]
    start, stop, _ = slice(start, stop).indices(size)
    if (start, stop) == (0, size):
        return value
    if size != value.width:
        raise Misfit(f"a slice of {list(value.shape)} along {axis}")
    return value.take(start, stop)


def _split(node: Node) -> list[Any]:
    value = node.inputs[0]
    state = isinstance(value, StateIn)
    shape = (value.count, 1, 1) if state else node.signal().shape
    axis = node.attributes.get("axis", 0) % len(shape)
    sizes = node.attributes.get("split", node.constant(1) if len(node.inputs) > 1 else None)
    if sizes is None:
        part = -(-shape[axis] // node.outputs)
        sizes = [min(part, shape[axis] - i * part) for i in range(node.outputs)]
    stops = np.cumsum([int(s) for s in sizes]).tolist()
    return [_part(value, axis, stop - int(size), stop) for size, stop in zip(sizes, stops, strict=True)]


def _gather(node: Node) -> Any:
    value, index = node.inputs[0], node.constant(1)
    rank = 3 if isinstance(value, StateIn) else len(node.signal().shape)
    axis = node.attributes.get("axis", 0) % rank
    picks = [int(i) for i in index.reshape(-1)]
    if isinstance(value, StateIn):
        if len(picks) != 1 or axis:
            raise Misfit("a selection of recurrent states that is no single layer")
        return slice_state(value, 0, picks[0], picks[0] + 1 or None)
    size = value.shape[axis]
    picks = [i % size for i in picks]
    if not picks or picks != list(range(picks[0], picks[0] + len(picks))):
        raise Misfit("a selection of entries out of order")
    part = _part(value, axis, picks[0], picks[-1] + 1)
    if index.ndim == 0:
        part = part.reshape(tuple(d for i, d in enumerate(part.shape) if i != axis))
    return part


def _concat(node: Node) -> Any:
    if len(node.inputs) == 1:
        return node.inputs[0]
    parts: list[Any] = []
    for value in node.inputs:
        parts += value if isinstance(value, list) else [value]
    if all(isinstance(part, StateOut) for part in parts):
        return parts
    raise Misfit("a concatenation of several values")


SHAPES: dict[str, Callable[[Node], Any]] = {
    "Flatten": _reshaped,
    "Reshape": _reshaped,
    "Squeeze": _reshaped,
    "Unsqueeze": _reshaped,
    "Transpose": _transpose,
    "Slice": _slice,
    "Split": _split,
    "Gather": _gather,
    "Concat": _concat,
}
