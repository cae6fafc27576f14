"""The recurrent operators of ONNX: GRU and LSTM, one layer each, in torch's gate order.

ONNX orders gates z, r, h (GRU) and i, o, f, c (LSTM); torch r, z, n and i, f, g, o.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..cells import GRU, LSTM
from .signal import Misfit, Signal, StateOut

_ORDER = {"GRU": (1, 0, 2), "LSTM": (0, 2, 3, 1)}


@dataclass(frozen=True)
class StateIn:
    """Some layers of a recurrent state that enters the graph."""

    name: str
    """The graph input."""
    start: int
    """First layer."""
    stop: int
    """Behind the last layer."""

    @property
    def count(self) -> int:
        """Number of layers."""
        return self.stop - self.start


def slice_state(state: StateIn, axis: int, start: int, stop: int | None) -> StateIn:
    """Layers [start, stop) of a state."""
    first, last, _ = slice(start, stop).indices(state.count if axis == 0 else 1 << 30)
    if axis:
        if first or (stop is not None and stop < (1 << 30)):
            raise Misfit("a slice through a recurrent state that separates no layers")
        return state
    if last <= first:
        raise Misfit("an empty slice of a recurrent state")
    return StateIn(state.name, state.start + first, state.start + last)


def recurrent(op: str, x: Signal, constant: Callable[[int], Any], inputs: list[Any], attributes: dict[str, Any]) -> list[Any]:
    """Outputs Y, Y_h (and Y_c) of a single-step, one-directional GRU or LSTM."""
    if attributes.get("direction", b"forward") not in (b"forward", "forward"):
        raise Misfit(f"a recurrent layer that runs {attributes['direction']!r}")
    for name in ("activations", "clip", "input_forget", "activation_alpha", "activation_beta"):
        if attributes.get(name) and [_text(v) for v in np.atleast_1d(attributes[name])] not in (
            ["sigmoid", "tanh"],
            ["sigmoid", "tanh", "tanh"],
        ):
            raise Misfit(f"a recurrent layer with {name} {attributes[name]!r}")
    if op == "GRU" and not attributes.get("linear_before_reset", 0):
        raise Misfit("a GRU with linear_before_reset = 0 (torch's GRU has 1)")
    if x.shape and (len(x.shape) != 3 or x.shape[-1] != x.width):
        raise Misfit(f"a recurrent layer on a value of shape {list(x.shape)}, which is more than one step")
    weight, recurrence, bias = constant(1), constant(2), constant(3)
    if len(inputs) > 7 and inputs[7] is not None:
        raise Misfit("an LSTM with peepholes")
    if weight.ndim != 3 or weight.shape[0] != 1 or recurrence.ndim != 3:
        raise Misfit(f"recurrent weights of shape {weight.shape}")
    hidden, order = recurrence.shape[-1], _ORDER[op]
    tensors = {"weight_ih": _reordered(weight[0], hidden, order), "weight_hh": _reordered(recurrence[0], hidden, order)}
    if bias is not None:
        first, second = np.split(bias.reshape(-1), 2)
        tensors |= {"bias_ih": _reordered(first, hidden, order), "bias_hh": _reordered(second, hidden, order)}
    given = inputs[5:7] if op == "LSTM" else inputs[5:6]
    wanted = 2 if op == "LSTM" else 1
    if len(given) != wanted or not all(isinstance(s, StateIn) and s.count == 1 for s in given):
        raise Misfit("a recurrent layer whose state is no input of the graph (it would forget between two calls)")
    y = x.recurrent(LSTM if op == "LSTM" else GRU, tensors, tuple(given))
    output = y.reshape((1, 1, 1, hidden))
    return [output, StateOut(y, "h"), *([StateOut(y, "c")] if op == "LSTM" else [])]


def _text(value: Any) -> str:
    return (value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)).lower()


def _reordered(tensor: np.ndarray, hidden: int, order: tuple[int, ...]) -> np.ndarray:
    """Gate blocks of ``hidden`` rows in another order."""
    if tensor.shape[0] != hidden * len(order):
        raise Misfit(f"a recurrent tensor of shape {tensor.shape} for {hidden} hidden values")
    blocks = np.split(tensor, len(order))
    return np.concatenate([blocks[i] for i in order])
