"""One command on an SSH connection: AsyncSSH's session in its event loop's thread, a plain process to whoever reads it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from typing import Any

from .link import Dropped, Ended
from .process import Process

HIGH_WATER_BYTES = 1 << 20
"""Sent and not yet taken by the connection; beyond it writers wait."""
SENT_S = 15.0


class SshProcess(Process):
    """One command on an SSH connection. AsyncSSH's session calls it from the loop's thread."""

    def __init__(self, name: str, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(name)
        self._loop = loop
        self._chan: Any = None
        self._paused = False
        self._exit: int | None = None
        self._waiting = 0  # bytes that the loop's thread has still to send
        self._broken: Exception | None = None
        self._room = threading.Event()
        self._room.set()

    # Called by AsyncSSH (asyncssh.SSHClientSession), in the loop's thread.

    def connection_made(self, chan: Any) -> None:
        self._chan = chan
        chan.set_write_buffer_limits(HIGH_WATER_BYTES)

    def session_started(self) -> None:
        pass

    def data_received(self, data: bytes, datatype: int | None) -> None:
        if datatype is not None:
            self.feed_error(data)
        elif not self.feed(data):
            self._paused = True
            self._chan.pause_reading()

    def eof_received(self) -> bool:
        return True  # its exit code is still to come

    def pause_writing(self) -> None:
        self._room.clear()

    def resume_writing(self) -> None:
        self._room.set()

    def exit_status_received(self, status: int) -> None:
        self._exit = status

    def exit_signal_received(self, signal: str, core_dumped: bool, msg: str, lang: str) -> None:  # noqa: ARG002
        self.feed_error(f" killed by SIG{signal} {msg}".encode())
        self._exit = -1

    def connection_lost(self, error: Exception | None) -> None:
        self.ended(self._exit if error is None else None, str(error or "no exit code"))
        self._room.set()

    def __getattr__(self, name: str) -> Any:
        if name in ("xon_changed_received", "break_received", "signal_received", "terminal_size_changed"):
            return lambda *_: None  # AsyncSSH may tell of these; they mean nothing here
        raise AttributeError(name)

    # Called by the link, in any thread.

    def drained(self) -> None:
        if self._paused:
            self._paused = False
            self._loop.call_soon_threadsafe(self._chan.resume_reading)

    def write(self, data: bytes) -> None:
        # Not waited for: a decision over the link would pay for a second change of threads.
        self._room.wait()
        with self._changed:
            if not self._changed.wait_for(lambda: self._waiting < HIGH_WATER_BYTES or self._closed, SENT_S):
                raise Dropped(f"{self.name}: nothing was taken for {SENT_S:g} s")
            if self._closed:
                raise self._why()
            if self._broken is not None:
                raise Ended(f"{self.name}: the program there takes no more input") from self._broken
            self._waiting += len(data)
        self._call(lambda: self._send(data))

    def _send(self, data: bytes) -> None:
        try:
            self._chan.write(data)
        except (OSError, RuntimeError, AttributeError) as error:
            self._broken = error
        with self._changed:
            self._waiting -= len(data)
            self._changed.notify_all()

    def finish(self) -> None:
        self._call(lambda: self._chan.write_eof())

    def close(self) -> None:
        self._call(lambda: self._chan.close())

    def _call(self, function: Callable[[], object]) -> None:
        def quietly() -> None:
            with contextlib.suppress(OSError, RuntimeError):
                function()

        with contextlib.suppress(RuntimeError):  # the loop is gone, and all its connections
            self._loop.call_soon_threadsafe(quietly)
