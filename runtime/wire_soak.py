"""A soak of a device without Python: it paces itself in blocks, and tells their samples in between."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import closing
from typing import Any

import numpy as np

from ..errors import Unsupported
from .artifact import Artifact
from .measure.rate import Rate
from .measure.soak_run import Soak
from .measure.stretch import Part
from .place import Progress, is_behind_terminal
from .results import device_of, result
from .verify import checked_golden
from .wire_session import WireSession

BLOCK_SECONDS = 10.0
"""Of a block, where the device remembers as many samples; telling them takes a link some hundredths of a second."""
WARM_SECONDS = 2.0
FIRST_CALLS = 16
"""Decisions that say how many the warm-up has."""
NOT_READ = "temperature and clock were not read while it ran: that needs a Python on the device"


class WireSoak(Soak):
    """Blocks are paced against absolute releases of the device's own clock, each from a beginning of its own."""

    def __init__(self, session: WireSession, observations: np.ndarray, hz: float, seconds: float) -> None:
        """``observations`` float32 [N, n]: as many of the first as the device can hold are used."""
        super().__init__(lambda _: None, hz, seconds, moment=dict, block_seconds=BLOCK_SECONDS)
        self._session, self._most = session, max(1, session.client.identity.samples // 2)
        session.client.hold(np.asarray(observations, np.float32))

    def warm_up(self) -> None:
        """WARM_SECONDS of decisions back to back, or what the device remembers."""
        client = self._session.client
        slow = float(client.tight(FIRST_CALLS, seconds_each=1.0).max()) / client.identity.clock_hz
        calls = min(client.identity.samples, max(FIRST_CALLS, int(WARM_SECONDS / max(slow, 1e-9))))
        client.tight(calls, seconds_each=4 * slow)
        self._session.reset()

    def _block(self, part: Part, first: int, count: int, total: int) -> int:
        count = min(count, self._most, total - first)
        paced = self._session.paced(None, self.hz, count, guarded=self._session.guarded)
        part.add(paced.response_ns, paced.missed)
        self.jitter_ns = max(self.jitter_ns, paced.jitter_ns)
        return first + count

    def _rest(self, part: Part, first: int, total: int, ended_ns: int) -> int:  # noqa: ARG002
        """Telling the samples is part of every block here, and never the policy's doing."""
        part.unfinished = 0
        coming = max(first, min(total, math.ceil((self.clock.now_ns() - self._origin) * self.hz / 1e9)))
        self.rested += coming - first
        if not part.periods:
            part.first = coming
        return coming


def wire_soak(
    artifact: Artifact,
    seconds: float,
    rate: Rate,
    *,
    trust: bool,
    realtime: bool,
    pin: int | None,
    progress: Progress | None,
    say: Callable[[str], object] | None,
) -> dict[str, Any]:
    """As :func:`pilotfish.runtime.soak.soak`, on a device that runs a native runner or firmware; stores and returns the result.

    A connection that is lost ends it, and keeps what was measured. Raises Unsupported behind a pseudo-terminal.
    """
    from .remote import linked_session

    if is_behind_terminal(artifact):
        raise Unsupported("soak", expected="a real device", found="a pseudo-terminal, behind which an emulator has no time")
    words = (("--realtime",) if realtime else ()) + (() if pin is None else ("--pin", str(pin)))
    observations = checked_golden(artifact).obs.astype(np.float32)
    with closing(linked_session(artifact, trust, words)) as session:
        run = WireSoak(session, observations, rate.decision_hz, seconds)
        run.warm_up()
        interrupted = run.go(progress, say)
        runner = session.client.identity.board
        way = "paced on the device by its own clock" + ("; through the guard" if session.guarded else "")
    data = result(
        artifact,
        run.figures(device_of(artifact), artifact.manifest.target.control.jitter_budget_us, way),
        control_hz=rate.hz,
        deadline_us=rate.period_us,
        asked_seconds=seconds,
        interrupted=interrupted,
        **run.fields(),
        runner=runner,
        warnings=[NOT_READ, *([f"the soak ended early: {run.lost}"] if run.lost else [])],
    )
    artifact.store_result("soak", data)
    return data
