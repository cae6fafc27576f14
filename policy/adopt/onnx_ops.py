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
from .onnx_node import Node
from .onnx_recurrent import recurrent
from .onnx_shapes import SHAPES
from .signal import Choice, Magnitude, Misfit, Signal, StateOut


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
    "Identity": _same,
    "Cast": _same,
    "Dropout": _same,
    "ArgMax": _argmax,
    "Softmax": _softmax,
    "LogSoftmax": _softmax,
    "GRU": _recurrent,
    "LSTM": _recurrent,
} | SHAPES


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
