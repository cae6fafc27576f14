"""What each ONNX operator does to a signal. A new operator is a function here and a line in the table.

Semantics are those of the ONNX operator specification (opset 7 and later; attributes that later became inputs
are read from either place).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..layers import ActivationName
from . import arithmetic
from .moments import Moment, combine
from .onnx_constants import slice_arguments
from .onnx_recurrent import StateIn, recurrent, slice_state
from .signal import Choice, Magnitude, Misfit, Signal, StateOut


@dataclass(frozen=True)
class Node:
    """One node with its inputs already followed."""

    op: str
    """Operator."""
    name: str
    """Its name, or that of its first output."""
    inputs: list[Any]
    """Signals, constants (numpy), state values; None for an omitted one."""
    attributes: dict[str, Any]
    """Attributes as Python values; tensors as numpy."""
    outputs: int
    """How many outputs it has."""

    def constant(self, index: int, default: Any = None) -> Any:
        """Input ``index`` as a constant, or ``default`` where it is omitted."""
        value = self.inputs[index] if index < len(self.inputs) else None
        if value is None:
            return default
        if not isinstance(value, np.ndarray):
            raise Misfit(f"input {index} that depends on the observation")
        return value

    def signal(self, index: int = 0) -> Signal:
        """Input ``index`` as a signal; the hidden state of a recurrent layer is one too."""
        value = self.inputs[index] if index < len(self.inputs) else None
        if isinstance(value, StateOut) and value.which == "h":
            return value.signal
        if not isinstance(value, Signal):
            raise Misfit(f"input {index} that is a {type(value).__name__}, not the observation on its way")
        return value


@dataclass(frozen=True, eq=False)
class Probabilities:
    """softmax of a signal: only the largest entry is of interest."""

    of: Signal
    """The scores."""


def _gemm(node: Node) -> Signal:
    x, weight, bias = node.signal(), node.constant(1), node.constant(2)
    if node.attributes.get("transA", 0) or weight.ndim != 2:
        raise Misfit("a transposed observation")
    matrix = weight if node.attributes.get("transB", 0) else weight.T
    matrix = matrix * node.attributes.get("alpha", 1.0)
    return x.linear(matrix, None if bias is None else bias * node.attributes.get("beta", 1.0))


def _matmul(node: Node) -> Signal:
    if isinstance(node.inputs[0], np.ndarray):
        x, matrix = node.signal(1), node.inputs[0]
        if x.shape[-1] != 1 and len(x.shape) > 1:
            raise Misfit(f"a matrix times a value of shape {list(x.shape)}")
    else:
        x, matrix = node.signal(), np.swapaxes(node.constant(1), -1, -2) if node.constant(1).ndim > 1 else node.constant(1)[None]
        if x.shape[-1] != x.width:
            raise Misfit(f"a product with a value of shape {list(x.shape)}")
    if matrix.size != math.prod(matrix.shape[-2:]):
        raise Misfit(f"a batch of matrices of shape {list(matrix.shape)}")
    return x.linear(matrix.reshape(matrix.shape[-2:]), None)


def _activation(function: ActivationName, alpha: float | None = None) -> Callable[[Node], Signal]:
    def apply(node: Node) -> Signal:
        slope = 1.0 if alpha is None else node.attributes.get("alpha", alpha)
        return node.signal().activation(function, slope)

    return apply


def _swish(node: Node) -> Signal:
    if node.attributes.get("alpha", 1.0) != 1.0:
        raise Misfit(f"a swish with alpha {node.attributes['alpha']}")
    return node.signal().activation("silu")


def _prelu(node: Node) -> Signal:
    slope = node.constant(1)
    if slope.size != 1:
        raise Misfit("a slope per entry")
    return node.signal().activation("leaky_relu", float(slope.reshape(-1)[0]))


def _operand(value: Any) -> Any:
    return value.signal if isinstance(value, StateOut) and value.which == "h" else value


def _binary(function: Callable[[Any, Any], Any]) -> Callable[[Node], Any]:
    def apply(node: Node) -> Any:
        left, right = _operand(node.inputs[0]), _operand(node.inputs[1])
        if isinstance(left, Moment) or isinstance(right, Moment):
            return combine(node.op, left, right)
        return function(left, right)

    return apply


def _moment(node: Node) -> Any:
    """ReduceMean, Pow, Sqrt: only on the way to a layer norm."""
    axes = node.attributes.get("axes", node.constant(1) if node.op == "ReduceMean" else None)
    return combine(node.op, _operand(node.inputs[0]), node.constant(1), axes)


def _bound(low: bool) -> Callable[[Node], Signal]:
    def apply(node: Node) -> Signal:
        constants = [v for v in node.inputs if isinstance(v, np.ndarray)]
        signals = [i for i, v in enumerate(node.inputs) if not isinstance(v, np.ndarray)]
        if len(signals) != 1 or any(np.unique(c).size != 1 for c in constants):
            raise Misfit("bounds that differ from entry to entry")
        values = [float(c.reshape(-1)[0]) for c in constants]
        x = node.signal(signals[0])
        return x.clip(max(values), None) if low else x.clip(None, min(values))

    return apply


def _clip(node: Node) -> Signal:
    low, high = (node.attributes.get(key, node.constant(index)) for index, key in ((1, "min"), (2, "max")))
    values = [None if bound is None else float(np.reshape(bound, -1)[0]) for bound in (low, high)]
    return node.signal().clip(*values)


def _layer_norm(node: Node) -> Signal:
    x = node.signal()
    axis = node.attributes.get("axis", -1) % len(x.shape)
    if math.prod(x.shape[axis:]) != x.width:
        raise Misfit(f"a layer norm over a part of {list(x.shape)}")
    return x.layer_norm(node.constant(1), node.constant(2), node.attributes.get("epsilon", 1e-5))


def _batch_norm(node: Node) -> Signal:
    if node.attributes.get("training_mode", 0):
        raise Misfit("batch statistics of a training graph")
    x = node.signal()
    if len(x.shape) != 2:
        raise Misfit(f"a batch norm of shape {list(x.shape)}")
    scale, bias, mean, variance = (node.constant(i).astype(np.float64) for i in range(1, 5))
    factor = scale / np.sqrt(variance + node.attributes.get("epsilon", 1e-5))
    return x.affine(factor, bias - mean * factor)


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


def _argmax(node: Node) -> Choice:
    value = node.inputs[0]
    x = value.of if isinstance(value, Probabilities) else node.signal()
    if node.attributes.get("select_last_index", 0):
        raise Misfit("an ArgMax that takes the last of equal entries")
    if x.shape[node.attributes.get("axis", 0) % len(x.shape)] != x.width:
        raise Misfit(f"an ArgMax over an axis of {list(x.shape)} that is not the whole vector")
    return Choice(x)


def _softmax(node: Node) -> Probabilities:
    return Probabilities(node.signal())


def _same(node: Node) -> Any:
    if node.op == "Cast" and isinstance(node.inputs[0], Signal) and node.attributes.get("to") not in (1, 10, 11, 16):
        raise Misfit("a cast of the observation to something that is no float")
    if node.op == "Dropout" and len(node.inputs) > 2 and np.any(node.constant(2, np.zeros(1))):
        raise Misfit("dropout in training mode")
    return node.inputs[0]


def _recurrent(node: Node) -> list[Any]:
    return recurrent(node.op, node.signal(), node.constant, node.inputs, node.attributes)


OPERATORS: dict[str, Callable[[Node], Any]] = {
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Add": _binary(arithmetic.add),
    "Sub": _binary(lambda a, b: arithmetic.add(a, b, -1.0)),
    "Mul": _binary(arithmetic.multiply),
    "Div": _binary(arithmetic.divide),
    "Neg": lambda node: node.signal().affine(-1.0, 0.0),
    "Abs": lambda node: Magnitude(node.signal()),
    "Tanh": _activation("tanh"),
    "Relu": _activation("relu"),
    "Elu": _activation("elu", 1.0),
    "Sigmoid": _activation("sigmoid"),
    "Softsign": _activation("softsign"),
    "LeakyRelu": _activation("leaky_relu", 0.01),
    "PRelu": _prelu,
    "Swish": _swish,
    "Clip": _clip,
    "Max": _bound(low=True),
    "Min": _bound(low=False),
    "LayerNormalization": _layer_norm,
    "BatchNormalization": _batch_norm,
    "ReduceMean": _moment,
    "Pow": _moment,
    "Sqrt": _moment,
    "Flatten": _reshaped,
    "Reshape": _reshaped,
    "Squeeze": _reshaped,
    "Unsqueeze": _reshaped,
    "Transpose": _transpose,
    "Identity": _same,
    "Cast": _same,
    "Dropout": _same,
    "Slice": _slice,
    "Split": _split,
    "Gather": _gather,
    "Concat": _concat,
    "ArgMax": _argmax,
    "Softmax": _softmax,
    "LogSoftmax": _softmax,
    "GRU": _recurrent,
    "LSTM": _recurrent,
}


def apply(node: Node) -> list[Any]:
    """The outputs of a node, some possibly missing at the end. Raises Misfit where it is no layer."""
    operator = OPERATORS.get(node.op)
    if operator is None:
        raise Misfit("an operator that Pilotfish does not adopt")
    try:
        result = operator(node)
    except (ValueError, IndexError, KeyError, TypeError, AttributeError, ArithmeticError, RuntimeError) as error:
        raise Misfit(f"inputs that do not fit ({error})"[:160]) from error
    return result if isinstance(result, list) and node.op != "Concat" else [result]
