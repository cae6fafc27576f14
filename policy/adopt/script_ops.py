"""What each torch operator in TorchScript code does to a signal, a state or a constant."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ..layers import ActivationName
from . import arithmetic
from .script_recurrent import gru, lstm
from .script_shapes import SHAPES
from .script_values import plain, signal_of
from .signal import Choice, Magnitude, Misfit, Signal

MAX_VALUES = 1 << 27


def _pointwise(function: Callable[..., np.ndarray], *arrays: np.ndarray) -> np.ndarray:
    if math.prod(np.broadcast_shapes(*(a.shape for a in arrays))) > MAX_VALUES:
        raise Misfit("a constant that is too large")
    with np.errstate(all="ignore"):
        return function(*(a.astype(np.float32) if a.dtype.kind == "f" else a for a in arrays))


def _binary(function: Callable[..., np.ndarray], on_signals: Callable[[Any, Any], Any]) -> Callable[..., Any]:
    def apply(left: Any, right: Any, alpha: float = 1) -> Any:
        a, b = plain(left), plain(right)
        if isinstance(b, np.ndarray) and alpha != 1:
            b = b * alpha
        elif alpha != 1:
            raise Misfit(f"a sum with alpha {alpha}")
        if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
            return _pointwise(function, a, b)
        return on_signals(a, b)

    return apply


def _unary(function: Callable[[np.ndarray], np.ndarray]) -> Callable[..., Any]:
    def apply(value: Any) -> Any:
        array = plain(value)
        if not isinstance(array, np.ndarray):
            raise Misfit("a function of the observation that is no activation of ours")
        return _pointwise(function, array)

    return apply


def _activation(function: ActivationName) -> Callable[..., Signal]:
    return lambda x: signal_of(x).activation(function)


def _elu(x: Any, alpha: float = 1, scale: float = 1, input_scale: float = 1) -> Signal:
    if scale != 1 or input_scale != 1:
        raise Misfit("an elu with a scale")
    return signal_of(x).activation("elu", float(alpha))


def _absolute(x: Any) -> Any:
    value = plain(x)
    return np.abs(value) if isinstance(value, np.ndarray) else Magnitude(signal_of(value))


def _neg(x: Any) -> Any:
    value = plain(x)
    return -value if isinstance(value, np.ndarray) else signal_of(value).affine(-1.0, 0.0)


def _linear(x: Any, weight: Any, bias: Any = None) -> Signal:
    w, b = plain(weight), plain(bias)
    if not isinstance(w, np.ndarray):
        raise Misfit("weights that depend on the observation")
    return signal_of(x).linear(w, b)


def _addmm(bias: Any, x: Any, matrix: Any, beta: float = 1, alpha: float = 1) -> Signal:
    return _linear(x, plain(matrix).T * alpha, plain(bias) * beta)


def _clamp(x: Any, low: Any = None, high: Any = None) -> Any:
    bounds = [None if b is None else plain(b) for b in (low, high)]
    if any(b is not None and (not isinstance(b, np.ndarray) or np.unique(b).size != 1) for b in bounds):
        raise Misfit("bounds that differ from entry to entry")
    values = [None if b is None else float(b.reshape(-1)[0]) for b in bounds]
    value = plain(x)
    if isinstance(value, np.ndarray):
        return np.clip(value, -math.inf if values[0] is None else values[0], math.inf if values[1] is None else values[1])
    return signal_of(value).clip(*values)


def _layer_norm(x: Any, shape: Any, weight: Any = None, bias: Any = None, eps: float = 1e-5, _cudnn: bool = True) -> Signal:
    signal = signal_of(x)
    if signal.shape and math.prod(int(d) for d in shape) != signal.width:
        raise Misfit(f"a layer norm over {list(shape)} of {signal.width} values")
    return signal.layer_norm(plain(weight), plain(bias), eps)


def _dropout(x: Any, p: float = 0.5, train: bool = False, _inplace: bool = False) -> Any:
    if train and p:
        raise Misfit("dropout in training mode (call eval() before exporting)")
    return x


def _argmax(x: Any, dim: int | None = None, _keepdim: bool = False) -> Choice:
    signal = signal_of(x)
    if dim is not None and signal.shape and signal.shape[dim] != signal.width:
        raise Misfit(f"an argmax over a part of {list(signal.shape)}")
    return Choice(signal)


def _same(x: Any, *_: Any, **__: Any) -> Any:
    return x


_SAME = ("contiguous", "to", "clone", "detach", "type_as", "alias", "float", "cpu", "expand_as")
OPERATORS: dict[str, Callable[..., Any]] = {
    "linear": _linear,
    "addmm": _addmm,
    "matmul": lambda x, m: _linear(x, plain(m).T),
    "t": lambda x: plain(x).T,
    "numpy_T": lambda x: plain(x).T,
    "add": _binary(np.add, arithmetic.add),
    "sub": _binary(np.subtract, lambda a, b: arithmetic.add(a, b, -1.0)),
    "rsub": _binary(lambda a, b: b - a, lambda a, b: arithmetic.add(b, a, -1.0)),
    "mul": _binary(np.multiply, arithmetic.multiply),
    "div": _binary(np.true_divide, arithmetic.divide),
    "maximum": lambda a, b: _clamp(a, b, None),
    "minimum": lambda a, b: _clamp(a, None, b),
    "neg": _neg,
    "abs": _absolute,
    "sqrt": _unary(np.sqrt),
    "rsqrt": _unary(lambda a: 1 / np.sqrt(a)),
    "reciprocal": _unary(lambda a: 1 / a),
    "exp": _unary(np.exp),
    "tanh": _activation("tanh"),
    "relu": _activation("relu"),
    "sigmoid": _activation("sigmoid"),
    "silu": _activation("silu"),
    "elu": _elu,
    "leaky_relu": lambda x, slope=0.01: signal_of(x).activation("leaky_relu", float(slope)),
    "clamp": _clamp,
    "clip": _clamp,
    "clamp_min": lambda x, low: _clamp(x, low, None),
    "clamp_max": lambda x, high: _clamp(x, None, high),
    "hardtanh": lambda x, low=-1.0, high=1.0: _clamp(x, low, high),
    "layer_norm": _layer_norm,
    "dropout": _dropout,
    "feature_dropout": _dropout,
    "argmax": _argmax,
    "lstm": lstm,
    "gru": gru,
}
OPERATORS |= SHAPES | dict.fromkeys(_SAME, _same)
