"""The client waits for a device that says that it is at work, asks again soon where a byte was lost, and gives the dead up."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable

import pytest

from pilotfish.errors import Unreachable
from pilotfish.targets.wire import client as client_module
from pilotfish.targets.wire.client import MOST_PATIENCE, WORK_ATTEMPTS, Client
from pilotfish.targets.wire.frames import Decoder, Frame, encode
from pilotfish.targets.wire.messages import REPLY, Kind

BUSY = encode(Kind.BUSY | REPLY, 0)


class Line:
    """A channel whose other end is ``answer(frame, say)``, in a thread of its own for each frame; ``asked``: when one came."""

    def __init__(self, answer: Callable[[Frame, Callable[[bytes], None]], None]) -> None:
        self._answer, self._arrived, self._decoder = answer, queue.Queue[bytes](), Decoder()
        self.asked: list[float] = []

    def write(self, data: bytes) -> None:
        for frame in self._decoder.feed(data):
            self.asked.append(time.monotonic())
            threading.Thread(target=self._answer, args=(frame, self._arrived.put), daemon=True).start()

    def read(self, max_bytes: int, timeout_s: float) -> bytes:
        try:
            return self._arrived.get(timeout=max(0.0, timeout_s))
        except queue.Empty:
            return b""

    def close(self) -> None:
        pass


def silent(frame: Frame, say: Callable[[bytes], None]) -> None:
    """A device that is dead."""


def test_a_device_that_is_at_work_is_waited_for_and_not_asked_again():
    def slow(frame, say):
        for _ in range(20):
            time.sleep(0.05)
            say(BUSY)
        say(encode(frame.kind | REPLY, frame.sequence))

    line = Line(slow)
    client = Client(line, timeout_s=0.3, attempts=3)
    client.reset()
    assert len(line.asked) == 1 and client.retries == 0 and client.busy == 20


def test_one_that_stops_working_without_an_answer_is_asked_again():
    def forgetful(frame, say):
        if len(line.asked) == 1:
            say(BUSY)
        else:
            say(encode(frame.kind | REPLY, frame.sequence))

    line = Line(forgetful)
    client = Client(line, timeout_s=0.2, attempts=3)
    client.reset()
    assert len(line.asked) == 2 and client.retries == 1


def test_one_that_works_for_ever_is_given_up(monkeypatch):
    monkeypatch.setattr(client_module, "LONGEST_BUSY_S", 0.3)

    def endless(frame, say):
        for _ in range(40):
            time.sleep(0.05)
            say(BUSY)

    begin = time.monotonic()
    with pytest.raises(Unreachable, match="did not answer: asked 3 times"):
        Client(Line(endless), timeout_s=0.1, attempts=3).reset()
    assert 0.3 + 0.1 + 0.2 < time.monotonic() - begin < 1.9  # the whole of it, whichever attempt it is


def test_patience_grows_and_a_dead_device_is_given_up_all_the_same():
    line = Line(silent)
    begin = time.monotonic()
    with pytest.raises(Unreachable, match=r"did not answer: asked 8 times in \d+\.\d s .*right port"):
        Client(line, timeout_s=0.05, attempts=8).reset()
    assert 24 * 0.05 <= time.monotonic() - begin < 2 * 24 * 0.05 + 1
    gaps = [later - earlier for earlier, later in zip(line.asked, line.asked[1:], strict=False)]
    for gap, times in zip(gaps, (1, 1, 2, 2, 4, 4, MOST_PATIENCE), strict=True):
        assert gap >= times * 0.05 * 0.99


def test_work_of_its_own_is_waited_for_but_not_asked_for_often():
    line = Line(silent)
    begin = time.monotonic()
    with pytest.raises(Unreachable, match=f"asked {WORK_ATTEMPTS} times"):
        Client(line, timeout_s=0.02, attempts=8).request(Kind.TIGHT, bytes(4), seconds=0.1)
    assert 0.3 <= time.monotonic() - begin < 2
