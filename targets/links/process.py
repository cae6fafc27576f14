"""A program under way at the other end of a link: its input, its output, and how it ended."""

from __future__ import annotations

import re
import threading
import time
from abc import ABC, abstractmethod
from typing import Protocol

from .link import Dropped, Ended
from .scripts import Order

MAX_WAITING_BYTES = 4 << 20
"""Output that nobody has read yet; beyond it the sender is made to wait."""
KEPT_ERROR_BYTES = 4096
"""The end of standard error: what an error message quotes."""
MAX_WORDS = 600
_CONTROL = re.compile(r"[^\x20-\x7e\u00a0-\ud7ff\ue000-\uffff]+")


def plain(text: str | bytes, limit: int = MAX_WORDS) -> str:
    """The end of what a device said, on one line and without control characters, which could drive a terminal."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "replace")
    return _CONTROL.sub(" ", text).strip()[-limit:]


class Process(ABC):
    """What every transport's processes share. The transport feeds it from a thread of its own; the caller reads."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._changed = threading.Condition()
        self._out = bytearray()
        self._errors = bytearray()
        self._closed = False
        self._status: int | None = None
        self._lost: str | None = None

    # What the transport calls.

    def feed(self, data: bytes) -> bool:
        """Standard output arrived; False: enough for now, send no more until :meth:`drained`."""
        with self._changed:
            self._out += data
            self._changed.notify_all()
            return len(self._out) < MAX_WAITING_BYTES

    def feed_error(self, data: bytes) -> None:
        """Standard error arrived."""
        with self._changed:
            self._errors += data
            del self._errors[:-KEPT_ERROR_BYTES]

    def ended(self, status: int | None, lost: str | None = None) -> None:
        """No more will come. ``status``: the exit code, negative for a signal; None with ``lost``: the connection is gone."""
        with self._changed:
            if not self._closed:
                self._status, self._lost, self._closed = status, lost, True
            self._changed.notify_all()

    def drained(self) -> None:  # noqa: B027 a hook, of which most transports need nothing
        """The caller made room; a transport that was told to wait goes on."""

    # What the caller calls.

    def read(self, max_bytes: int, timeout_s: float) -> bytes:
        """See :class:`pilotfish.targets.links.link.Channel`."""
        with self._changed:
            self._changed.wait_for(lambda: self._out or self._closed, timeout_s)
            data = bytes(self._out[:max_bytes])
            del self._out[:max_bytes]
            if not data and self._closed:
                raise self._why()
        if data:
            self.drained()
        return data

    def wait(self, timeout_s: float | None = None) -> int:
        """The exit code; Dropped where the connection is gone, Ended where ``timeout_s`` passed."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._closed, timeout_s):
                raise Ended(f"{self.name} did not end within {timeout_s:g} s")
            if self._status is None:
                raise self._why()
            return self._status

    @property
    def over(self) -> bool:
        """No more will come."""
        return self._closed

    @property
    def said(self) -> str:
        """The end of its standard error."""
        with self._changed:
            return plain(bytes(self._errors))

    def _why(self) -> Dropped | Ended:
        if self._status is None:
            return Dropped(f"{self.name}: the connection was lost" + (f" ({plain(self._lost)})" if self._lost else ""))
        said = plain(bytes(self._errors))
        return Ended(f"{self.name}: the program there ended with exit code {self._status}" + (f": {said}" if said else ""))

    @abstractmethod
    def write(self, data: bytes) -> None:
        """Send all of it."""

    @abstractmethod
    def finish(self) -> None:
        """Close its input."""

    @abstractmethod
    def close(self) -> None:
        """End it, and release what it holds."""


class Shell(Protocol):
    """What a link needs of a computer: a POSIX shell that runs one command at a time or several."""

    name: str
    """For people."""

    def start(self, order: Order) -> Process:
        """Run the order's script by ``sh``; Dropped or Unreachable where that cannot be."""

    def close(self) -> None:
        """End every program that was started, and the connection; the next start connects anew."""


class LineReader:
    """Reads whole lines of at most ``max_bytes``; a last line without its end is half a line, and is not given."""

    def __init__(self, process: Process, max_bytes: int, idle_s: float = 0.5) -> None:
        self.process, self.max_bytes, self.idle_s = process, max_bytes, idle_s
        self._held = bytearray()

    def next(self, timeout_s: float | None = None) -> bytes | None:
        """The next line without its end, None where the program ended well; the errors of :meth:`Process.read`."""
        stop = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            end = self._held.find(b"\n")
            if end >= 0:
                line = bytes(self._held[:end])
                del self._held[: end + 1]
                return line
            if len(self._held) > self.max_bytes:
                raise Ended(f"{self.process.name}: a line of more than {self.max_bytes:,} bytes")
            if stop is not None and time.monotonic() > stop:
                raise Ended(f"{self.process.name}: no answer within {timeout_s:g} s")
            try:
                self._held += self.process.read(1 << 16, self.idle_s)
            except Ended:
                if self.process.wait(0) == 0:
                    return None
                raise
