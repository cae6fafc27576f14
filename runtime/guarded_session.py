"""A session behind its guard: the Python mirror of what the C back-end's guard does, around any back-end's session."""

from __future__ import annotations

import time

import numpy as np

from ..errors import BadInput, Unsupported
from ..policy.guard import Flag, Guard, GuardTable
from ..targets.wire.messages import Identity, guard_mark
from .session import Session, checked_output
from .wire_session import WireSession


class GuardedSession:
    """See :class:`pilotfish.runtime.session.Session`; ``act`` never returns what the guard would not let through.

    A device that has the guard itself (behind a link) is asked for guarded decisions, and for its counters.
    ``judge_deadline``: time the policy, and drop a decision that took longer than the table's deadline. Not where the
    environment is simulated and waits.
    """

    def __init__(self, session: Session, table: GuardTable, *, judge_deadline: bool = False) -> None:
        self.inner, self.guard, self.contract = session, Guard(table), session.contract
        self._there = session if isinstance(session, WireSession) and session.guarded and not judge_deadline else None
        if self._there is not None:
            _same_guard(self._there.client.identity, table)
        self._judge = judge_deadline
        self.last = 0
        """What happened in the latest decision: :class:`pilotfish.policy.guard.Flag` bits; 0: the policy's own action."""

    @property
    def on_device(self) -> bool:
        """The guard is the device's own, not the one in this process."""
        return self._there is not None

    @property
    def counters(self) -> dict[str, int]:
        """How often each thing has happened, by name; readable at any time."""
        return dict(self.guard.counters) if self._there is None else self._there.guard_counters

    @property
    def state(self) -> np.ndarray:
        return self.inner.state

    @state.setter
    def state(self, flat: np.ndarray) -> None:
        self.inner.state = flat

    def reset(self) -> None:
        """Start an episode: state and earlier action are forgotten, the counters go on."""
        self.inner.reset()
        self.guard.reset()

    def act(self, obs: np.ndarray) -> np.ndarray:
        """:meth:`act_at` for an observation of this moment."""
        return self.act_at(obs, 0)

    def act_at(self, obs: np.ndarray, age_us: int) -> np.ndarray:
        """obs float32 [n], measured ``age_us`` ago -> the action to send, float32 [m]."""
        if self._there is not None:
            action, flags = self._there.guarded_act(obs, age_us)
            self.last = Flag(flags)
            return action
        begun = time.perf_counter_ns()

        def took_us() -> int:
            return (time.perf_counter_ns() - begun) // 1000

        action, self.last = self.guard.step(
            obs, self.inner.act, age_us=age_us, took_us=took_us if self._judge else None, restart=self.inner.reset
        )
        return action

    def act_into(self, obs: np.ndarray, out: np.ndarray) -> None:
        """:meth:`act` into ``out``."""
        checked_output(self.contract, out, (self.contract.action.size,), obs)
        out[:] = self.act(obs)

    def late(self, obs: np.ndarray | None = None) -> np.ndarray:
        """The action to send where the deadline passes without a decision; ``obs``: the newest observation.

        Unsupported for a guard on a device: the deadline is its own.
        """
        if self._there is not None:
            raise Unsupported("late", expected="a guard in this process", found=f"one on {self._there.client.identity.board}")
        action, self.last = self.guard.late(obs)
        return action

    def close(self) -> None:
        self.inner.close()


def _same_guard(identity: Identity, table: GuardTable) -> None:
    """BadInput where the device's guard is another one, as far as it tells."""
    if identity.guard_mark not in (0, guard_mark(table)):
        raise BadInput(
            f"the device {identity.board!r}",
            expected=f"the artifact's guard (mark {guard_mark(table):04x})",
            found=f"another one ({identity.guard_mark:04x})",
            repair="Flash or install this artifact there",
        )
