"""One job at a time: who waits is served in order, and who was served keeps the device for a while, undisturbed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

MAX_WAITING = 8


class Busy(Exception):
    """The device is somebody else's now; says for how long at most, or how many wait."""


class Turns:
    """A queue and a lease. The lease begins with a client's first job, is renewed by every job, and ends ``lease_s`` after
    the last one, or when its client lets go: between two steps of one user nobody else's job disturbs the timing."""

    def __init__(
        self, lease_s: float = 60.0, max_waiting: int = MAX_WAITING, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.lease_s, self.max_waiting, self._clock = lease_s, max_waiting, clock
        self._changed = threading.Condition()
        self._queue: list[tuple[object, str]] = []
        self._running: object | None = None
        self._holder, self._until = "", 0.0

    def ask(self, client: str) -> object:
        """A ticket at the end of the queue; Busy where too many wait."""
        with self._changed:
            if len(self._queue) >= self.max_waiting:
                raise Busy(f"{len(self._queue)} jobs are waiting already")
            ticket = object()
            self._queue.append((ticket, client))
            return ticket

    def granted(self, ticket: object, timeout_s: float) -> int:
        """0: the turn has come, and :meth:`leave` must end it. Else how many come before it, after ``timeout_s``."""
        stop = self._clock() + timeout_s
        with self._changed:
            while True:
                before = self._before(ticket)
                left = stop - self._clock()
                if before == 0:
                    client = next(client for each, client in self._queue if each is ticket)
                    self._queue = [entry for entry in self._queue if entry[0] is not ticket]
                    self._running, self._holder = ticket, client
                    return 0
                if left <= 0:
                    return before
                self._changed.wait(min(left, 0.2))  # a lease ends without a word

    def leave(self, ticket: object) -> None:
        """The job ended, or is not waited for any more."""
        with self._changed:
            self._queue = [entry for entry in self._queue if entry[0] is not ticket]
            if self._running is ticket:
                self._running, self._until = None, self._clock() + self.lease_s
            self._changed.notify_all()

    def release(self, client: str) -> None:
        """The client needs the device no longer."""
        with self._changed:
            if self._holder == client:
                self._until = 0.0
            self._changed.notify_all()

    def _before(self, ticket: object) -> int:
        """How many jobs come first, the one that runs included; 0: none."""
        if self._running is None and self._clock() >= self._until:
            self._holder = ""
        # The holder's own jobs come before those who wait for its lease to end.
        order = sorted(self._queue, key=lambda entry: entry[1] != self._holder) if self._holder else self._queue
        at = next(index for index, (each, _) in enumerate(order) if each is ticket)
        client = order[at][1]
        waits_for_lease = self._running is None and self._holder not in ("", client)
        return at + (self._running is not None) + waits_for_lease
