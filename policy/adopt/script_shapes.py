"""torch operators that change a value's shape, ask for it, or take a part of the value."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from .script_values import Later, StateIn, plain, signal_of
from .signal import Choice, Misfit, Signal, StateOut


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
    return [Later(partial(_slice, x, dim, stop - int(size), stop)) for size, stop in zip(sizes, stops, strict=True)]


def _chunk(x: Any, chunks: int, dim: int = 0) -> list[Any]:
    return _split(x, -(-_shape(x)[dim] // chunks), dim)


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


SHAPES: dict[str, Callable[..., Any]] = {
    "view": _reshape,
    "reshape": _reshape,
    "flatten": _flatten,
    "squeeze": _squeeze,
    "unsqueeze": _unsqueeze,
    "slice": _slice,
    "split": _split,
    "split_with_sizes": _split,
    "chunk": _chunk,
    "select": _select,
    "cat": _cat,
    "dim": lambda x: len(_shape(x)),
    "size": _size,
    "len": lambda x: len(x) if isinstance(x, list | tuple | str) else _shape(x)[0],
}
