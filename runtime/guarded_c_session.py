"""A C artifact behind its own guard, in C: what a robot runs, called from Python; the counterpart of the mirror in Python."""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np

from ..policy.guard import COUNTERS
from .c_session import CSession
from .session import checked_observation, checked_output

_POINTER = ctypes.c_void_p
_FLOAT32 = np.dtype(np.float32)
_CLOCK = ctypes.CFUNCTYPE(ctypes.c_uint32)
_MOST = 2**32 - 1


class GuardedCSession:
    """As :class:`pilotfish.runtime.guarded_session.GuardedSession`, decided by ``policy_guard_step`` in the artifact's library.

    The same bits, flags and counters (tests/export/test_c_guard.py); a decision costs a call through ctypes, about 1 us, where
    the mirror in Python takes some 100.
    """

    def __init__(self, session: CSession, *, judge_deadline: bool = False) -> None:
        """``judge_deadline``: a decision that took longer than the guard's deadline is dropped, by this process's clock."""
        self.inner, self.contract, self.last = session, session.contract, 0
        library, self._state = session.loaded()
        size = ctypes.c_int32.in_dll(library, "policy_guard_bytes").value
        self._memory = np.zeros(-(-size // 4), np.uint32)
        self._obs = np.zeros(self.contract.observation.size, np.float32)
        self._action = np.zeros(self.contract.action.size, np.float32)
        self._guard, self._seen, self._kept, self._sent = (
            _POINTER(each.ctypes.data) for each in (self._memory, self._obs, self._state, self._action)
        )
        self._clock = _CLOCK(lambda: time.perf_counter_ns() // 1000 & _MOST) if judge_deadline else None
        asked = None if self._clock is None else ctypes.cast(self._clock, _POINTER)
        self._step, self._late, self._reset = library.policy_guard_step, library.policy_guard_late, library.policy_guard_reset
        self._step.restype = self._late.restype = ctypes.c_uint32
        self._reset.restype = library.policy_guard_init.restype = None
        library.policy_guard_init(self._guard, self._kept)
        # All that does not change is converted once; the arrays live as long as this object, so the addresses stay good.
        self._now: Callable[[], int] = partial(
            self._step, self._guard, self._seen, ctypes.c_uint32(0), self._kept, self._sent, asked
        )
        self._asked = asked

    @property
    def counters(self) -> dict[str, int]:
        """How often each thing has happened, by name; readable at any time."""
        return dict(zip(COUNTERS, self._memory.tolist(), strict=False))

    @property
    def state(self) -> np.ndarray:
        return self.inner.state

    @state.setter
    def state(self, flat: np.ndarray) -> None:
        self.inner.state = flat

    def reset(self) -> None:
        """Start an episode: state and earlier action are forgotten, the counters go on."""
        self._reset(self._guard, self._kept)

    def act(self, obs: np.ndarray) -> np.ndarray:
        """:meth:`act_at` for an observation of this moment."""
        self._take(obs)
        self.last = self._now()
        return self._action.copy()

    def act_at(self, obs: np.ndarray, age_us: int) -> np.ndarray:
        """obs float32 [n], measured ``age_us`` ago -> the action to send, float32 [m]."""
        self._take(obs)
        age = ctypes.c_uint32(min(max(age_us, 0), _MOST))
        self.last = self._step(self._guard, self._seen, age, self._kept, self._sent, self._asked)
        return self._action.copy()

    def act_into(self, obs: np.ndarray, out: np.ndarray) -> None:
        """:meth:`act` into ``out``."""
        checked_output(self.contract, out, self._action.shape, obs)
        out[:] = self.act(obs)

    def late(self, obs: np.ndarray | None = None) -> np.ndarray:
        """The action to send where the deadline passes without a decision; ``obs``: the newest observation."""
        if obs is not None:
            self._take(obs)
        self.last = self._late(self._guard, self._seen if obs is not None else None, self._sent)
        return self._action.copy()

    def _take(self, obs: np.ndarray) -> None:
        if type(obs) is not np.ndarray or obs.dtype is not _FLOAT32 or obs.shape != self._obs.shape:
            obs = checked_observation(self.contract, obs)
        self._obs[:] = obs

    def close(self) -> None:
        self._step = self._late = self._reset = self._now = _closed
        self.inner.close()


def _closed(*_: Any) -> int:
    raise RuntimeError("this session is closed")
