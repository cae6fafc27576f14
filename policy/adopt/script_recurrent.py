"""Recurrent layers in TorchScript code."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..cells import GRU, LSTM
from .script_values import Buffer, StateIn, StateKey, plain, signal_of
from .signal import Misfit, StateOut


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


def lstm(x: Any, states: Any, flat: Any, biases: bool, layers: int, p: float, train: bool, both: bool, _first: bool) -> tuple:
    if both or (train and p and layers > 1):
        raise Misfit("an LSTM that runs in both directions or drops out")
    return tuple(recurrent(LSTM, x, list(states), list(flat), layers, biases))


def gru(x: Any, state: Any, flat: Any, biases: bool, layers: int, p: float, train: bool, both: bool, _first: bool) -> tuple:
    if both or (train and p and layers > 1):
        raise Misfit("a GRU that runs in both directions or drops out")
    return tuple(recurrent(GRU, x, [state], list(flat), layers, biases))
