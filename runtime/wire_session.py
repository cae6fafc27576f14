"""A policy that runs elsewhere, as a session: decisions over the wire protocol, each with the time that it took there."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import numpy as np

from ..errors import BadInput, Unreachable
from ..policy.contract import Contract
from ..targets.wire.client import Channel, Client
from .pace import Paced
from .session import action_size, checked_observation, checked_state, state_size

T = TypeVar("T")
CHECKPOINT_STEPS = 64
"""A recurrent policy's state is fetched this often, so that a lost connection costs at most as many decisions again."""
RECOVERIES = 3
"""Times in a row that a lost connection is made anew for one decision."""


class WireSession:
    """See :class:`pilotfish.runtime.session.Session`; hardware in the loop: the simulator here, the policy there.

    A device that loses the line for good raises Unreachable. With ``reopen`` the connection is made anew, and the device's
    state too: set to the latest that was fetched, then led through the observations since, which gives the same state to
    the last bit where the device computes as it did before. So an episode goes on as if nothing had happened.
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
        self._checkpoint = np.zeros(state_size(contract), np.float32)
        self._since: list[np.ndarray] = []
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

    def reset(self) -> None:
        self._checkpoint = np.zeros(state_size(self.contract), np.float32)
        self._since = []
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
        self._checkpoint, self._since = values, []

    def act(self, obs: np.ndarray) -> np.ndarray:
        values = checked_observation(self.contract, obs)
        decision = self._surely(lambda: self.client.step(values))
        self.last_us = decision.ticks * 1e6 / self.client.identity.clock_hz
        if self._reopen is not None and self.contract.state:
            self._since.append(values.copy())
            if len(self._since) >= CHECKPOINT_STEPS:
                self._checkpoint, self._since = self.state, []
        return decision.action

    def _surely(self, ask: Callable[[], T]) -> T:
        """``ask()``, after a lost connection once more on a new one."""
        for attempt in range(RECOVERIES + 1):
            try:
                if attempt:
                    self._recover()
                return ask()
            except Unreachable:
                if self._reopen is None or attempt == RECOVERIES:
                    raise
        raise AssertionError("the loop returns or raises")

    def _recover(self) -> None:
        assert self._reopen is not None
        self.client.renew(self._reopen())
        self.recoveries += 1
        self._check()
        self.client.reset()
        if self.contract.state:
            self.client.state = self._checkpoint
            for obs in self._since:
                self.client.step(obs)

    def tight_us(self, observations: np.ndarray, calls: int, *, seconds_each: float = 0.0) -> np.ndarray:
        """Microseconds of each of ``calls`` decisions made there back to back on ``observations`` [N, n], float64 [calls].

        By the device's own clock; ends the episode. As many of the first observations are used as the device can hold.
        """
        self.client.hold(np.asarray(observations, np.float32))
        ticks = self.client.tight(calls, seconds_each=seconds_each)
        self.reset()
        return ticks * 1e6 / self.client.identity.clock_hz

    def paced(self, observations: np.ndarray, hz: float, periods: int) -> Paced:
        """``periods`` decisions made there at ``hz``, against absolute releases of the device's own clock; ends the episode.

        The longest run is what the device can remember: more periods are made in several runs, whose joints are not paced.
        """
        self.client.hold(np.asarray(observations, np.float32))
        identity = self.client.identity
        most, runs = max(1, identity.samples // 2), []
        for first in range(0, periods, most):
            runs.append(self.client.paced(hz, min(most, periods - first)))
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
        self.client.close()


def _responses(start_ns: np.ndarray, call_ns: np.ndarray, period_ns: float) -> np.ndarray:
    """From each release to the first action at or after it, float64 [n]: a skipped period waits for the next decision."""
    responses, following = np.zeros(len(start_ns)), 0.0
    for k in range(len(start_ns) - 1, -1, -1):
        following = following + period_ns if start_ns[k] < 0 else start_ns[k] + call_ns[k]
        responses[k] = following
    return responses
