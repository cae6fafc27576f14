"""What each torch operator in TorchScript code does to a signal, a state or a constant."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..cells import GRU, LSTM
from ..layers import ActivationName
from . import arithmetic
from .signal import Choice, Magnitude, Misfit, Signal, StateOut

MAX_VALUES = 1 << 27


@dataclass(frozen=True, eq=False)
class Buffer:
    """A tensor that the module owns: a constant, until it turns out to be a recurrent state."""

    name: str
    """Path of attributes from the top module."""
    array: np.ndarray
    """Its stored value."""


@dataclass(frozen=True)
class StateKey:
    """One layer of a recurrent state."""

    name: str
    """Buffer or argument."""
    layer: int
    """Which layer of it."""


@dataclass(frozen=True, eq=False)
class StateIn:
    """A recurrent state that the caller passes in as an argument."""

    name: str
    """The argument."""


@dataclass(frozen=True, eq=False)
class _Part:
    """One part of a split, cut out only when it is used: the other half (a standard deviation) may not be needed."""

    whole: Any
    dim: int
    start: int
    stop: int


def plain(value: Any) -> Any:
    """A buffer as its array, a hidden state as the signal that it is, numbers as arrays of one."""
    if isinstance(value, Buffer):
        return value.array
    if isinstance(value, StateOut) and value.which == "h":
        return value.signal
    if isinstance(value, _Part):
        return _slice(value.whole, value.dim, value.start, value.stop)
    if isinstance(value, bool | int | float):
        return np.asarray(value)
    return value


def signal_of(value: Any) -> Signal:
    """``value`` as a signal, or a Misfit that says what it is."""
    value = plain(value)
    if not isinstance(value, Signal):
        raise Misfit(f"a {type(value).__name__} where the observation on its way is due")
    return value


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


def _reshape(x: Any, shape: Any) -> Any:
    value = plain(x)
    sizes = tuple(int(d) for d in shape)
    return value.reshape(sizes) if isinstance(value, np.ndarray) else signal_of(value).reshape(sizes)


def _flatten(x: Any, start: int = 0, stop: int = -1) -> Signal:
    signal = signal_of(x)
    if not signal.shape:
        return signal
    rank = len(signal.shape)
    start, stop = start % rank, stop % rank
    return signal.reshape((*signal.shape[:start], math.prod(signal.shape[start : stop + 1]), *signal.shape[stop + 1 :]))


def _squeeze(x: Any, dim: int | None = None) -> Any:
    value = plain(x)
    if isinstance(value, np.ndarray):
        return np.squeeze(value, dim if dim is None or value.shape[dim] == 1 else ())
    if isinstance(value, StateOut | StateIn | Choice | list) or not signal_of(value).shape:
        return value
    rank = len(value.shape)
    drop = range(rank) if dim is None else [int(dim) % rank]
    return value.reshape(tuple(d for i, d in enumerate(value.shape) if d != 1 or i not in drop))


def _unsqueeze(x: Any, dim: int) -> Any:
    value = plain(x)
    if isinstance(value, np.ndarray):
        return np.expand_dims(value, dim)
    if isinstance(value, StateOut | StateIn | Choice | list) or not signal_of(value).shape:
        return value
    shape = list(value.shape)
    shape.insert(int(dim) % (len(shape) + 1), 1)
    return value.reshape(tuple(shape))


def _slice(x: Any, dim: int = 0, start: int | None = None, stop: int | None = None, step: int = 1) -> Any:
    if step != 1:
        raise Misfit(f"a slice with step {step}")
    limit = None if stop is None or stop >= 1 << 62 else stop
    if not start and limit is None:
        return x  # x[:], which keeps a buffer what it is
    value = plain(x)
    if isinstance(value, np.ndarray):
        index = [slice(None)] * value.ndim
        index[dim] = slice(start, limit)
        return value[tuple(index)]
    signal = signal_of(value)
    if not signal.shape:
        raise Misfit("a slice of an observation of unknown length")
    size = signal.shape[dim]
    first, last, _ = slice(start, limit).indices(size)
    if (first, last) == (0, size):
        return signal
    if size != signal.width:
        raise Misfit(f"a slice of {list(signal.shape)} along {dim}")
    return signal.take(first, last)


def _select(x: Any, dim: int, index: int) -> Any:
    value = plain(x)
    if isinstance(value, np.ndarray):
        return np.take(value, index, axis=dim)
    signal = signal_of(value)
    if not signal.shape:
        return signal
    if signal.shape[dim] != 1:
        raise Misfit(f"one entry out of {list(signal.shape)} along {dim}")
    return _squeeze(signal, dim)


def _split(x: Any, sizes: Any, dim: int = 0) -> list[Any]:
    whole = _shape(x)[dim]
    if isinstance(sizes, int):
        sizes = [min(sizes, whole - start) for start in range(0, whole, max(sizes, 1))]
    stops = np.cumsum([int(s) for s in sizes]).tolist()
    if not stops or stops[-1] != whole:
        raise Misfit(f"a split of {whole} values into {list(sizes)}")
    return [_Part(x, dim, stop - int(size), stop) for size, stop in zip(sizes, stops, strict=True)]


def _chunk(x: Any, chunks: int, dim: int = 0) -> list[Any]:
    return _split(x, -(-_shape(x)[dim] // chunks), dim)


def _argmax(x: Any, dim: int | None = None, _keepdim: bool = False) -> Choice:
    signal = signal_of(x)
    if dim is not None and signal.shape and signal.shape[dim] != signal.width:
        raise Misfit(f"an argmax over a part of {list(signal.shape)}")
    return Choice(signal)


def _cat(values: Any, dim: int = 0) -> Any:
    parts = [plain(v) for v in values]
    if len(parts) == 1:
        return parts[0]
    if all(isinstance(p, np.ndarray) for p in parts):
        return np.concatenate(parts, dim)
    raise Misfit("a concatenation of several values")


def _shape(x: Any) -> tuple[int, ...]:
    value = plain(x)
    shape = value.shape if isinstance(value, np.ndarray | Signal) else ()
    if not shape and not isinstance(value, np.ndarray):
        raise Misfit("a question for the shape of a value of unknown length")
    return tuple(shape)


def _size(x: Any, dim: int | None = None) -> Any:
    shape = _shape(x)
    return list(shape) if dim is None else shape[dim]


def recurrent(
    layer_type: type[GRU] | type[LSTM], x: Any, states: list[Any], flat: list[Any], layers: int, has_biases: bool
) -> list[Any]:
    """A stack of recurrent layers, one step: [output, next h (, next c)], the states as lists of layers."""
    per_layer = 4 if has_biases else 2
    tensors = [plain(t) for t in flat]
    if len(tensors) != per_layer * layers or not all(isinstance(t, np.ndarray) for t in tensors):
        raise Misfit(f"{len(tensors)} tensors for {layers} one-directional recurrent layers")
    for state in states:
        if not isinstance(state, Buffer | StateIn):
            raise Misfit("a recurrent layer whose state the module does not keep (it would forget between two calls)")
    signal = signal_of(x)
    if signal.shape and (len(signal.shape) not in (2, 3) or signal.shape[-1] != signal.width):
        raise Misfit(f"a recurrent layer on a value of shape {list(signal.shape)}, which is more than one step")
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")[:per_layer]
    following: list[list[StateOut]] = [[] for _ in states]
    for layer in range(layers):
        group = dict(zip(names, tensors[layer * per_layer : (layer + 1) * per_layer], strict=True))
        signal = signal.recurrent(layer_type, group, tuple(StateKey(s.name, layer) for s in states))
        for parts, which in zip(following, ("h", "c"), strict=False):
            parts.append(StateOut(signal, which))  # type: ignore[arg-type]
    return [signal, *following]


def _lstm(x: Any, states: Any, flat: Any, biases: bool, layers: int, p: float, train: bool, both: bool, _first: bool) -> tuple:
    if both or (train and p and layers > 1):
        raise Misfit("an LSTM that runs in both directions or drops out")
    return tuple(recurrent(LSTM, x, list(states), list(flat), layers, biases))


def _gru(x: Any, state: Any, flat: Any, biases: bool, layers: int, p: float, train: bool, both: bool, _first: bool) -> tuple:
    if both or (train and p and layers > 1):
        raise Misfit("a GRU that runs in both directions or drops out")
    return tuple(recurrent(GRU, x, [state], list(flat), layers, biases))


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
    "view": _reshape,
    "reshape": _reshape,
    "flatten": _flatten,
    "squeeze": _squeeze,
    "unsqueeze": _unsqueeze,
    "slice": _slice,
    "split": _split,
    "split_with_sizes": _split,
    "chunk": _chunk,
    "argmax": _argmax,
    "select": _select,
    "cat": _cat,
    "lstm": _lstm,
    "gru": _gru,
    "dim": lambda x: len(_shape(x)),
    "size": _size,
    "len": lambda x: len(x) if isinstance(x, list | tuple | str) else _shape(x)[0],
}
OPERATORS |= dict.fromkeys(_SAME, _same)
