"""What a value in TorchScript code may be besides a signal: a buffer, a state, a part that may not be needed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from .signal import Misfit, Signal, StateOut


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
class Later:
    """A value that is made only when it is used: the other half of a split (a standard deviation) may not be needed."""

    make: Callable[[], Any]


def plain(value: Any) -> Any:
    """A buffer as its array, a hidden state as the signal that it is, numbers as arrays of one."""
    if isinstance(value, Buffer):
        return value.array
    if isinstance(value, StateOut) and value.which == "h":
        return value.signal
    if isinstance(value, Later):
        return value.make()
    if isinstance(value, bool | int | float):
        return np.asarray(value)
    return value


def signal_of(value: Any) -> Signal:
    """``value`` as a signal, or a Misfit that says what it is."""
    value = plain(value)
    if not isinstance(value, Signal):
        raise Misfit(f"a {type(value).__name__} where the observation on its way is due")
    return value
