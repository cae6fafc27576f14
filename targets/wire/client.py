"""The client: one request and one reply at a time, asked again until it is answered or given up.

A request that is asked again bears the same sequence number and the same bytes: the device answers it from memory, so that
a decision is never taken twice and a recurrent state never advances twice. Sequence numbers start at random, so that a
reply to somebody who was on the line before is not taken for ours.
"""

from __future__ import annotations

import secrets
import struct
import time
from typing import Protocol

import numpy as np

from ...errors import BadInput, PilotfishError, Unreachable
from .frames import MAX_PAYLOAD_BYTES, VERSION, Decoder, encode
from .messages import (
    REPLY,
    WRAP,
    Decision,
    GuardedDecision,
    Identity,
    Kind,
    Refusal,
    Stats,
    floats,
    pack_period,
    unpack_counters,
    unpack_decision,
    unpack_floats,
    unpack_guarded,
)

MOST_PATIENCE = 5
"""The last attempts wait this many times as long as the first."""
WORK_ATTEMPTS = 3
"""For requests that are work of their own, and are waited for long: a device that died meanwhile must not take minutes."""
LONGEST_BUSY_S = 600.0
"""A device that says that it is at work for longer has lost its way."""


class Channel(Protocol):
    """Bytes to and from a device: a serial line, a process, a socket."""

    def read(self, max_bytes: int, timeout_s: float) -> bytes:
        """What has arrived, up to ``max_bytes``; waits up to ``timeout_s`` for the first byte, then returns b"".

        Raises Unreachable where the other end is gone.
        """

    def write(self, data: bytes) -> None:
        """Send all of it; Unreachable where the other end is gone."""

    def close(self) -> None:
        """Give the line up."""


class Refused(PilotfishError):
    """The device understood the request and did not carry it out."""

    exit_code = 3

    def __init__(self, code: int, why: str) -> None:
        self.code = code
        name = {refusal.value: f", {refusal.name}" for refusal in Refusal}.get(code, "")
        super().__init__(f"the device refused: {why or 'it does not say why'} (code {code}{name})")


class Client:
    """The host's side of the protocol over a channel; use it from one thread."""

    def __init__(self, channel: Channel, *, timeout_s: float = 1.0, attempts: int = 8) -> None:
        """A reply is waited for ``timeout_s`` (a line of 115,200 baud carries 11 bytes in a millisecond), then asked for again.

        There are ``attempts`` of that: two soon, for a byte that was lost, the later ones with more and more patience, up to
        MOST_PATIENCE times as much, for a computer that is busy. A device that says that it is at work is waited for.
        """
        if not (timeout_s > 0 and attempts >= 1):
            raise BadInput("client", expected="a timeout above 0 and at least one attempt", found=f"{timeout_s} s, {attempts}")
        self.channel, self.timeout_s, self.attempts = channel, timeout_s, attempts
        self.retries = 0
        """Times that a request was sent again because no sound reply came in time."""
        self.busy = 0
        """Times that somebody said that the device is at work: it is an emulator, or behind one."""
        self._decoder = Decoder(MAX_PAYLOAD_BYTES)
        self._sequence = secrets.randbelow(WRAP)
        self._identity: Identity | None = None

    @property
    def damaged(self) -> int:
        """Frames that arrived damaged."""
        return self._decoder.damaged

    def request(self, kind: int, payload: bytes = b"", *, seconds: float = 0.0) -> bytes:
        """The payload of the reply to one request, which may take the device ``seconds`` of work.

        Raises Refused with the device's reason, Unreachable where no sound reply came.
        """
        self._sequence = (self._sequence + 1) % WRAP
        frame, begun = encode(kind, self._sequence, payload), time.monotonic()
        attempts = min(self.attempts, WORK_ATTEMPTS) if seconds else self.attempts
        for attempt in range(attempts):
            self.retries += attempt > 0
            self.channel.write(frame)
            patience_s = self.timeout_s * min(2 ** (attempt // 2), MOST_PATIENCE) + seconds
            reply = self._reply(kind, patience_s, begun + LONGEST_BUSY_S)
            if reply is not None:
                return reply
        foreign = self._decoder.foreign_version
        if foreign is not None:
            raise Unreachable(f"the device speaks version {foreign} of the wire protocol, this is version {VERSION}")
        raise Unreachable(
            f"the device did not answer: asked {attempts} times in {time.monotonic() - begun:.1f} s "
            f"({self.damaged:,} damaged frames arrived). Is it the right port, speed and firmware? Or it is slow, or still busy "
            f"with an earlier request: a virtual board is ten times as fast with --fast"
        )

    def _reply(self, kind: int, patience_s: float, busy_until: float) -> bytes | None:
        """The reply to the present sequence number, or None after ``patience_s`` without it; late ones to others are dropped.

        Until ``busy_until``, a device that says that it is at work begins that time anew.
        """
        until = time.monotonic() + patience_s
        while (left := until - time.monotonic()) > 0:
            found = None
            for frame in self._decoder.feed(self.channel.read(65536, left)):
                if frame.kind == Kind.BUSY | REPLY:
                    self.busy += 1
                    until = max(until, min(time.monotonic() + patience_s, busy_until))
                elif frame.sequence == self._sequence and frame.kind in (kind | REPLY, Kind.ERROR | REPLY):
                    found = frame
            if found is None:
                continue
            if found.kind != kind | REPLY:
                if len(found.payload) < 4:
                    raise Refused(0, "")
                text = found.payload[4:].decode("utf-8", "replace")
                raise Refused(int.from_bytes(found.payload[:4], "little"), text)
            return found.payload
        return None

    @property
    def identity(self) -> Identity:
        """What the device says of itself (asked once)."""
        if self._identity is None:
            self._identity = Identity.unpack(self.request(Kind.IDENTIFY))
        return self._identity

    def reset(self) -> None:
        """Start an episode."""
        self.request(Kind.RESET)

    def step(self, obs: np.ndarray) -> Decision:
        """One decision on ``obs`` float32 [obs]; the device's state advances once, however often it is asked."""
        return unpack_decision(self.request(Kind.STEP, self._observation(obs)), self.identity)

    def guarded_step(self, obs: np.ndarray, age_us: int = 0) -> GuardedDecision:
        """One decision on ``obs``, measured ``age_us`` microseconds ago, behind the device's guard; Refused where it has none."""
        payload = struct.pack("<I", age_us) + self._observation(obs)
        return unpack_guarded(self.request(Kind.GUARDED, payload), self.identity)

    def guard_counters(self) -> dict[str, int]:
        """What the device's guard has counted since it started, by name; Refused where it has none."""
        return unpack_counters(self.request(Kind.GUARD))

    def _observation(self, obs: np.ndarray) -> bytes:
        values, size = np.asarray(obs, np.float32), self.identity.obs
        if values.shape != (size,):
            raise BadInput("observation", expected=f"shape ({size},), as the device says", found=f"shape {values.shape}")
        return floats(values)

    @property
    def state(self) -> np.ndarray:
        """The recurrent state, float32 [state]; may be set."""
        return unpack_floats(self.request(Kind.GET_STATE), self.identity.state, "GET_STATE's reply")

    @state.setter
    def state(self, flat: np.ndarray) -> None:
        self.request(Kind.SET_STATE, floats(np.asarray(flat, np.float32).reshape(-1)))

    def hold(self, observations: np.ndarray) -> int:
        """Give the device ``observations`` float32 [N, obs] for TIGHT and PACED; returns how many of the first it holds."""
        count = min(len(observations), self.identity.rows)
        for index in range(count):
            self.request(Kind.ROW, struct.pack("<I", index) + self._observation(observations[index]))
        return count

    def tight(self, calls: int, *, seconds_each: float = 0.0, guarded: bool = False) -> np.ndarray:
        """Ticks of each of ``calls`` decisions made back to back on the held observations, int64 [calls].

        Each may take ``seconds_each``. More than the device's memory holds are made in several runs. Every run
        starts an episode, and leaves the state as a reset does. ``guarded``: each behind the device's guard, whose counters
        stay as they were; Refused where it has none.
        """
        kind = Kind.TIGHT_GUARDED if guarded else Kind.TIGHT
        most, parts = self.identity.samples, []
        for first in range(0, calls, most):
            count = min(most, calls - first)
            self.request(kind, struct.pack("<I", count), seconds=count * seconds_each)
            parts.append(self._samples(count))
        return np.concatenate(parts) if parts else np.zeros(0, np.int64)

    def paced(self, hz: float, periods: int, *, guarded: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """(start, duration) in ticks of each of ``periods`` periods at ``hz``, int64 [periods] each.

        start: from the release to the start of the decision; -1: the period had passed entirely, and was skipped.
        duration: of the decision alone; -1 where it was skipped. At most ``identity.samples`` / 2 periods.
        ``guarded``: as for :meth:`tight`.
        """
        fraction, whole = pack_period(hz, self.identity.clock_hz)
        # A decision that is far slower than its period lengthens the run: twice its length, and what one attempt has.
        seconds = 2 * periods / hz
        kind = Kind.PACED_GUARDED if guarded else Kind.PACED
        self.request(kind, struct.pack("<III", periods, fraction, whole), seconds=seconds)
        pairs = self._samples(2 * periods).reshape(periods, 2)
        skipped = pairs[:, 0] == WRAP - 1
        return np.where(skipped, -1, pairs[:, 0]), np.where(skipped, -1, pairs[:, 1])

    def _samples(self, count: int) -> np.ndarray:
        each, parts = self.identity.max_payload_bytes // 4, []
        for first in range(0, count, each):
            some = min(each, count - first)
            payload = self.request(Kind.SAMPLES, struct.pack("<II", first, some))
            if len(payload) != 4 * some:
                raise BadInput("SAMPLES' reply", expected=f"{4 * some} bytes", found=f"{len(payload)}")
            parts.append(np.frombuffer(payload, "<u4").astype(np.int64))
        return np.concatenate(parts)

    def stats(self) -> Stats:
        """What the device has counted since it started."""
        return Stats.unpack(self.request(Kind.STATS))

    def renew(self, channel: Channel) -> None:
        """Go on over another channel, in place of one that was lost; whoever answers there is asked again who it is."""
        self.channel.close()
        self.channel, self._decoder, self._identity = channel, Decoder(MAX_PAYLOAD_BYTES), None

    def stop(self) -> None:
        """Ask the device's program to end; a device that is gone already is no error."""
        try:
            self.request(Kind.STOP)
        except Unreachable:
            return

    def close(self) -> None:
        """Give the line up; the device keeps running unless it was told to stop."""
        self.channel.close()
