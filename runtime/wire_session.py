"""A policy that runs elsewhere, as a session: decisions over the wire protocol, each with the time that it took there."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np

from ..errors import BadInput, PilotfishError, Unreachable
from ..policy.contract import Contract
from ..targets.wire.client import Channel, Client
from ..targets.wire.messages import WRAP
from .measure.pace import Paced
from .session import action_size, checked_observation, checked_state, state_size

T = TypeVar("T")
KEPT_BYTES = 64 << 20
"""Of one episode's observations; behind a guard, a longer episode does not outlive its connection."""
CHECKPOINT_STEPS = 64
"""A recurrent policy's state is fetched this often, so that a lost connection costs at most as many decisions again."""
RECOVERIES = 3
"""Times in a row that a lost connection is made anew for one decision."""


class WireSession:
    """See :class:`pilotfish.runtime.session.Session`; hardware in the loop: the simulator here, the policy there.

    A device that loses the line for good raises Unreachable. With ``reopen`` the connection is made anew, and the device's
    state too: set to the latest that was fetched, then led through the observations since, which gives the same state to
    the last bit where the device computes as it did before. So an episode goes on as if nothing had happened.

    A device with a guard decides behind it by :meth:`guarded_act`, and counts what it did. What a guard remembers cannot be
    set, so that an episode behind it is led through from its start.
    """

    def __init__(
        self, client: Client, contract: Contract, *, digest: str = "", reopen: Callable[[], Channel] | None = None
    ) -> None:
        """``digest``: of the policy that must run there (``Manifest.policy_digest``); "" takes any of that contract's sizes."""
        self.contract, self.client = contract, client
        self.last_us = float("nan")
        """Microseconds that the latest decision took on the device, by its own clock."""
        self.recoveries = 0
        """Connections that were lost and made anew."""
        self._digest, self._reopen = digest, reopen
        self._since: list[tuple[np.ndarray, int | None]] = []
        self._forget(np.zeros(state_size(contract), np.float32))
        self._counts = _Counts()
        self._lost = False
        try:
            self._check()
        except BaseException:
            client.close()
            raise
        self.reset()

    def _check(self) -> None:
        """BadInput unless the device runs the policy that is meant."""
        contract, identity = self.contract, self.client.identity
        wanted = (contract.observation.size, state_size(contract), action_size(contract), contract.action.kind == "discrete")
        found = (identity.obs, identity.state, identity.action, identity.discrete)
        if wanted != found:
            raise BadInput(
                f"the device {identity.board!r}",
                expected=f"a policy of sizes {wanted} (observation, state, action values, discrete), as the contract says",
                found=f"{found}",
            )
        if self._digest and int(identity.digest, 16) and identity.digest != self._digest:
            raise BadInput(
                f"the device {identity.board!r}",
                expected=f"the policy {self._digest[:12]}",
                found=f"{identity.digest[:12]}",
                repair="Flash or install this artifact there",
            )

    def _forget(self, state: np.ndarray) -> None:
        """What was decided so far is not needed to go on from ``state``."""
        self._checkpoint, self._since, self._kept_bytes, self._behind_guard = state, [], 0, False

    def reset(self) -> None:
        if self._behind_guard:
            self._counts.settle(self._surely(self.client.guard_counters))
        self._forget(np.zeros(state_size(self.contract), np.float32))
        self._surely(self.client.reset)

    @property
    def state(self) -> np.ndarray:
        return self._surely(lambda: self.client.state)

    @state.setter
    def state(self, flat: np.ndarray) -> None:
        values = checked_state(self.contract, flat).copy()

        def put() -> None:
            self.client.state = values

        self._surely(put)
        if self._behind_guard:
            self._kept_bytes = KEPT_BYTES  # what its guard remembers does not come back with the state
        else:
            self._forget(values)

    def act(self, obs: np.ndarray) -> np.ndarray:
        values = checked_observation(self.contract, obs)
        decision = self._surely(lambda: self.client.step(values))
        self.last_us = decision.ticks * 1e6 / self.client.identity.clock_hz
        if self.contract.state or self._behind_guard:
            self._remember(values, None)
        return decision.action

    @property
    def guarded(self) -> bool:
        """The device has a guard around the policy."""
        return self.client.identity.guarded

    def guarded_act(self, obs: np.ndarray, age_us: int = 0) -> tuple[np.ndarray, int]:
        """(action float32 [m] to send, what happened: bits of :class:`pilotfish.policy.guard.Flag`) for ``obs`` float32 [n].

        It was measured ``age_us`` before it is sent. A NaN in it is the guard's business. Refused by a device without a guard.
        """
        values = np.array(obs, np.float32)
        if not self._counts.begun:
            self._counts.begin(self._surely(self.client.guard_counters))
        decision = self._surely(lambda: self.client.guarded_step(values, age_us))
        self.last_us = decision.ticks * 1e6 / self.client.identity.clock_hz
        self._behind_guard = True
        self._remember(values, age_us)
        return decision.action, decision.flags

    @property
    def guard_counters(self) -> dict[str, int]:
        """What the device's guard has counted since this session's first guarded decision, whatever became of the connection.

        After :meth:`close` they are those of that moment; Unreachable where they could not be asked for then.
        """
        if self._counts.last is not None:
            return dict(self._counts.last)
        if self._lost:
            raise Unreachable("the device was lost before it told what its guard had counted")
        if not self._counts.begun:
            self._counts.begin(self._surely(self.client.guard_counters))
        return self._counts.total(self._surely(self.client.guard_counters))

    def _remember(self, values: np.ndarray, age_us: int | None) -> None:
        if self._reopen is None:
            return
        if self._kept_bytes < KEPT_BYTES:
            self._since.append((values.copy(), age_us))
            self._kept_bytes += values.nbytes
        if not self._behind_guard and len(self._since) >= CHECKPOINT_STEPS:
            self._forget(self.state)

    def _surely(self, ask: Callable[[], T]) -> T:
        """``ask()``, after a lost connection once more on a new one."""
        for attempt in range(RECOVERIES + 1):
            try:
                if attempt:
                    self._recover()
                return ask()
            except Unreachable:
                if self._reopen is None or attempt == RECOVERIES:
                    self._lost = True
                    raise
        raise AssertionError("the loop returns or raises")

    def _recover(self) -> None:
        assert self._reopen is not None
        if self._kept_bytes >= KEPT_BYTES:
            raise Unreachable("the connection was lost, and the episode behind the guard cannot be led through again")
        self.client.renew(self._reopen())
        self.recoveries += 1
        self._check()
        if self._counts.begun:
            self._counts.renew(self.client.guard_counters())
        self.client.reset()
        if self.contract.state:
            self.client.state = self._checkpoint
        for obs, age_us in self._since:
            if age_us is None:
                self.client.step(obs)
            else:
                self.client.guarded_step(obs, age_us)

    def tight_us(self, observations: np.ndarray, calls: int, *, seconds_each: float = 0.0) -> np.ndarray:
        """Microseconds of each of ``calls`` decisions made there back to back on ``observations`` [N, n], float64 [calls].

        By the device's own clock; ends the episode. As many of the first observations are used as the device can hold.
        """
        self.client.hold(np.asarray(observations, np.float32))
        ticks = self.client.tight(calls, seconds_each=seconds_each)
        self.reset()
        return ticks * 1e6 / self.client.identity.clock_hz

    def paced(self, observations: np.ndarray | None, hz: float, periods: int, *, guarded: bool = False) -> Paced:
        """``periods`` decisions made there at ``hz``, against absolute releases of the device's own clock; ends the episode.

        The longest run is what the device can remember: more periods are made in several runs, whose joints are not paced.
        ``observations`` None: those that it holds already. ``guarded``: behind the device's guard; Refused where it has none.
        """
        if observations is not None:
            self.client.hold(np.asarray(observations, np.float32))
        identity = self.client.identity
        most, runs = max(1, identity.samples // 2), []
        for first in range(0, periods, most):
            runs.append(self.client.paced(hz, min(most, periods - first), guarded=guarded))
        self.reset()
        to_ns, period = 1e9 / identity.clock_hz, 1e9 / hz
        responses = [_responses(start * to_ns, duration * to_ns, period) for start, duration in runs]
        start, duration = (np.concatenate([run[column] for run in runs]) for column in (0, 1))
        return Paced(
            np.concatenate(responses).round().astype(np.int64),
            np.where(start < 0, -1, (start * to_ns).round()).astype(np.int64),
            np.where(duration < 0, -1, (duration * to_ns).round()).astype(np.int64),
            round(period),
        )

    def close(self) -> None:
        if self._counts.begun and self._counts.last is None and not self._lost:
            try:
                self._counts.last = self._counts.total(self.client.guard_counters())
            except PilotfishError:
                self._lost = True
        self.client.close()


class _Counts:
    """A guard's counters over several lives of the device: each life begins anywhere, and an episode is led through again."""

    def __init__(self) -> None:
        self.begun = False
        self.last: dict[str, int] | None = None
        """The total, once the device is no longer asked."""

    def begin(self, told: dict[str, int]) -> None:
        """The device has counted ``told`` before this session."""
        self.begun, self._settled, self._from = True, dict.fromkeys(told, 0), told

    def total(self, told: dict[str, int]) -> dict[str, int]:
        """What this session has made it count, now that it says ``told``."""
        return {name: self._settled[name] + (value - self._from[name]) % WRAP for name, value in told.items()}

    def settle(self, told: dict[str, int]) -> None:
        """An episode has ended: it will not be led through again."""
        self._settled, self._from = self.total(told), told

    def renew(self, told: dict[str, int]) -> None:
        """Another life, which has counted ``told``; what it counts from now on is the present episode, from its start."""
        self._from = told


def _responses(start_ns: np.ndarray, call_ns: np.ndarray, period_ns: float) -> np.ndarray:
    """From each release to the first action at or after it, float64 [n]: a skipped period waits for the next decision."""
    responses, following = np.zeros(len(start_ns)), 0.0
    for k in range(len(start_ns) - 1, -1, -1):
        following = following + period_ns if start_ns[k] < 0 else start_ns[k] + call_ns[k]
        responses[k] = following
    return responses
