"""This machine's shell: how an agent runs what it was sent, and what the other links are compared with."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import threading
from typing import IO

from ...errors import Unreachable
from .link import Ended
from .process import Process
from .scripts import Order

CHUNK = 1 << 16


class LocalProcess(Process):
    """A child in a process group of its own, so that ending it ends what it started."""

    def __init__(self, name: str, script: str) -> None:
        super().__init__(name)
        self._room = threading.Event()
        self._room.set()
        try:
            self._child = subprocess.Popen(
                ["sh", "-c", script],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,
            )
        except OSError as error:
            raise Unreachable(f"{name}: no shell: {error}") from error
        assert self._child.stdout and self._child.stderr and self._child.stdin
        self._input: IO[bytes] = self._child.stdin
        self._said = threading.Thread(target=self._listen, args=(self._child.stderr, self.feed_error), daemon=True)
        self._said.start()
        threading.Thread(target=self._output, args=(self._child.stdout,), daemon=True).start()

    def _listen(self, stream: IO[bytes], take: object) -> None:
        while data := os.read(stream.fileno(), CHUNK):
            if take(data) is False:  # type: ignore[operator]
                self._room.clear()
                self._room.wait()
        stream.close()

    def _output(self, stream: IO[bytes]) -> None:
        self._listen(stream, self.feed)
        self._said.join()
        self.ended(self._child.wait())

    def drained(self) -> None:
        self._room.set()

    def write(self, data: bytes) -> None:
        view = memoryview(data)
        try:
            while view:
                view = view[os.write(self._input.fileno(), view) :]
        except (OSError, ValueError) as error:
            self.wait(5)
            raise self._why() if self._closed else Ended(f"{self.name}: {error}") from error

    def finish(self) -> None:
        with contextlib.suppress(OSError):
            self._input.close()

    def close(self) -> None:
        self.finish()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._child.pid, signal.SIGKILL)
        self._room.set()
        self._child.wait()


class LocalShell:
    """``sh`` as the user who runs Pilotfish."""

    name = "local"

    def __init__(self) -> None:
        self._started: list[LocalProcess] = []

    def start(self, order: Order) -> Process:
        self._started = [process for process in self._started if not process.over]
        process = LocalProcess(self.name, order.text)
        self._started.append(process)
        return process

    def close(self) -> None:
        for process in self._started:
            process.close()
        self._started.clear()
