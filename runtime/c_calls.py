"""Calling policy.so through ctypes, with every pointer bound once: where there is no extension (about 1 us more a call).

Measured: making a pointer with ``array.ctypes.data_as`` costs 1.5 us per array and call, more than a small policy.
"""

from __future__ import annotations

import ctypes
from typing import Any, Protocol

import numpy as np

from ..policy.contract import Contract
from .session import action_type, checked_observation, checked_output, checked_rows

_POINTER = ctypes.c_void_p
_FLOAT32 = np.dtype(np.float32)


class Calls(Protocol):
    """What both paths offer; the extension's ``Policy`` (export/c/templates/binding.c) is the other one."""

    def act(self, obs: np.ndarray) -> np.ndarray: ...
    def act_into(self, obs: np.ndarray, out: np.ndarray) -> None: ...
    def act_batch(self, obs: np.ndarray, out: np.ndarray | None = None) -> np.ndarray: ...
    def reset(self) -> None: ...
    def close(self) -> None: ...


class CtypesCalls:
    """See :class:`Calls`. ``library`` came from ``PyDLL``, which keeps the interpreter lock, whatever the policy's size."""

    def __init__(self, library: Any, contract: Contract, obs: np.ndarray, state: np.ndarray) -> None:
        self._contract, self._obs, self._state = contract, obs, state
        self._reset, self._step = library.policy_reset, library.policy_step
        self._reset.restype = self._step.restype = None
        self._discrete = contract.action.kind == "discrete"
        count = 1 if self._discrete else contract.action.size
        self._action = np.zeros(count, np.int32 if self._discrete else np.float32)
        # Converted once here; the arrays live as long as this object, so the addresses stay good.
        self._pointers = tuple(_POINTER(array.ctypes.data) for array in (obs, state, self._action))

    def reset(self) -> None:
        self._reset(self._pointers[1])

    def act(self, obs: np.ndarray) -> np.ndarray:
        self._decide(obs)
        return self._action.astype(np.int64) if self._discrete else self._action.copy()

    def act_into(self, obs: np.ndarray, out: np.ndarray) -> None:
        checked_output(
            self._contract, out, self._action.shape, obs
        )  # costs more than the array that it saves; act is faster here
        self._decide(obs)
        out[:] = self._action

    def act_batch(self, obs: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        rows = checked_rows(self._contract, obs)
        shape = (len(rows), self._action.size)
        if out is None:
            out = np.empty(shape, action_type(self._contract))
        checked_output(self._contract, out, shape, rows)
        for row, action in zip(rows, out, strict=True):
            self._decide(row)
            action[:] = self._action
        return out

    def close(self) -> None:
        self._reset = self._step = _closed

    def _decide(self, obs: np.ndarray) -> None:
        if type(obs) is not np.ndarray or obs.dtype is not _FLOAT32 or obs.shape != self._obs.shape:
            obs = checked_observation(self._contract, obs)
        self._obs[:] = obs
        self._step(*self._pointers)


def _closed(*_: Any) -> None:
    raise RuntimeError("this session is closed")
