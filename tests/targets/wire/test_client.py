"""The client waits for a device that says that it is at work, asks again soon where a byte was lost, and gives the dead up."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable

import pytest

from pilotfish.errors import Unreachable
from pilotfish.targets.wire import client as client_module
from pilotfish.targets.wire.client import MOST_PATIENCE, WORK_ATTEMPTS, Client
from pilotfish.targets.wire.frames import Decoder, Frame, encode
from pilotfish.targets.wire.messages import REPLY, Kind

BUSY = encode(Kind.BUSY | REPLY, 0)


class Line:
    """A channel in a time of its own, which passes only while the client waits: no machine is too busy for it.

    ``answer`` gives what its other end says to a frame, as (seconds from then on, bytes); ``asked``: when each frame came.
    """

    def __init__(self, answer: Callable[[Frame], Iterable[tuple[float, bytes]]]) -> None:
        self._answer, self._decoder = answer, Decoder()
        self._coming: list[tuple[float, bytes]] = []
        self.now = 0.0
        self.asked: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def write(self, data: bytes) -> None:
        for frame in self._decoder.feed(data):
            self.asked.append(self.now)
            for after, said in self._answer(frame):
                heapq.heappush(self._coming, (self.now + after, said))

    def read(self, max_bytes: int, timeout_s: float) -> bytes:
        if self._coming and self._coming[0][0] <= self.now + timeout_s:
            at, said = heapq.heappop(self._coming)
            self.now = max(self.now, at)
            return said
        self.now += timeout_s
        return b""

    def close(self) -> None:
        pass


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Line]:
    """line(answer) -> a Line whose time is the client's."""

    def make(answer: Callable[[Frame], Iterable[tuple[float, bytes]]]) -> Line:
        made = Line(answer)
        monkeypatch.setattr(client_module, "time", made)
        return made

    return make


def silent(frame: Frame) -> list[tuple[float, bytes]]:
    """A device that is dead."""
    return []


def test_a_device_that_is_at_work_is_waited_for_and_not_asked_again(line):
    def slow(frame):
        return [*((0.05 * beat, BUSY) for beat in range(1, 21)), (1.01, encode(frame.kind | REPLY, frame.sequence))]

    there = line(slow)
    client = Client(there, timeout_s=0.06, attempts=3)
    client.reset()
    assert there.asked == [0.0] and client.retries == 0 and client.busy == 20


def test_one_that_stops_working_without_an_answer_is_asked_again(line):
    def forgetful(frame):
        return [(0.1, BUSY)] if len(there.asked) == 1 else [(0.1, encode(frame.kind | REPLY, frame.sequence))]

    there = line(forgetful)
    client = Client(there, timeout_s=0.2, attempts=3)
    client.reset()
    assert there.asked == pytest.approx([0, 0.3]) and client.retries == 1 and there.now == pytest.approx(0.4)


def test_one_that_works_for_ever_is_given_up(line, monkeypatch):
    monkeypatch.setattr(client_module, "LONGEST_BUSY_S", 0.3)
    there = line(lambda frame: [(0.05 * beat, BUSY) for beat in range(1, 41)])
    with pytest.raises(Unreachable, match="did not answer: asked 3 times"):
        Client(there, timeout_s=0.1, attempts=3).reset()
    # LONGEST_BUSY_S is for the whole of it, whichever attempt it is.
    assert there.asked == pytest.approx([0, 0.3, 0.3 + 0.1]) and there.now == pytest.approx(0.3 + 0.1 + 0.2)


def test_patience_grows_and_a_dead_device_is_given_up_all_the_same(line):
    there = line(silent)
    with pytest.raises(Unreachable, match=r"did not answer: asked 8 times in 1\.2 s .*right port"):
        Client(there, timeout_s=0.05, attempts=8).reset()
    gaps = [later - earlier for earlier, later in zip(there.asked, [*there.asked[1:], there.now], strict=True)]
    assert gaps == pytest.approx([times * 0.05 for times in (1, 1, 2, 2, 4, 4, MOST_PATIENCE, MOST_PATIENCE)])


def test_work_of_its_own_is_waited_for_but_not_asked_for_often(line):
    there = line(silent)
    with pytest.raises(Unreachable, match=f"asked {WORK_ATTEMPTS} times"):
        Client(there, timeout_s=0.02, attempts=8).request(Kind.TIGHT, bytes(4), seconds=0.1)
    assert there.now == pytest.approx(0.12 + 0.12 + 0.14) and len(there.asked) == WORK_ATTEMPTS
