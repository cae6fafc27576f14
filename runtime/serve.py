"""serve: an artifact answers the wire protocol on standard input and output, run by Python.

    python -m pilotfish.runtime.serve ARTIFACT [--trust]

For devices that have Python; docs/wire.md has the protocol. Whatever else prints goes to standard error.
"""

from __future__ import annotations

import argparse
import os
import struct
import sys
import time
from collections.abc import Callable

import numpy as np

from ..errors import PilotfishError
from ..policy.guard import COUNTERS, GuardTable
from ..policy.guard_table import read_guard
from ..targets import host
from ..targets.reach import LocalLink
from ..targets.wire.frames import MAX_PAYLOAD_BYTES, Decoder, Frame, encode
from ..targets.wire.messages import REPLY, SKIPPED, WRAP, Identity, Kind, Refusal, Stats, floats, guard_mark, pack_decision
from .artifact import Artifact
from .c_session import CSession
from .guarded_session import GuardedSession
from .measure.pace import pace
from .open import open_session
from .session import Session, action_size, state_size

CLOCK_HZ = 1_000_000_000
"""Ticks are nanoseconds of time.perf_counter_ns."""
MAX_TICKS = SKIPPED - 1
"""4.3 seconds: what took longer is told as this."""
SAMPLES = 1 << 20
ROWS = 1024


class Server:
    """Bytes in, bytes out: a session behind the wire protocol."""

    def __init__(self, session: Session, digest: str, board: str, guard: GuardTable | None = None) -> None:
        """``guard``: of an artifact that was exported with one."""
        contract = session.contract
        self.session, self.stopped = session, False
        self._guarded = None if guard is None else GuardedSession(session, guard)
        obs, state, action = contract.observation.size, state_size(contract), action_size(contract)
        self.identity = Identity(
            discrete=contract.action.kind == "discrete",
            guarded=guard is not None,
            guard_mark=0 if guard is None else guard_mark(guard),
            obs=obs,
            state=state,
            action=action,
            max_payload_bytes=min(MAX_PAYLOAD_BYTES, 4 + 4 * max(16384, obs, state, action)),
            rows=ROWS,
            samples=SAMPLES,
            clock_hz=CLOCK_HZ,
            core_hz=0,
            digest=digest,
            board=board,
        )
        self._decoder = Decoder(self.identity.max_payload_bytes)
        self._last: tuple[tuple[int, int, bytes], bytes] | None = None
        self._rows: list[np.ndarray] = []
        self._samples = np.zeros(0, np.uint32)
        self._frames = self._repeated = self._refused = self._decisions = self._last_ticks = self._worst_ticks = 0
        self._requests: dict[int, tuple[int, Callable[[bytes], bytes]]] = {
            Kind.IDENTIFY: (0, lambda _: self.identity.pack()),
            Kind.RESET: (0, self._reset),
            Kind.STEP: (4 * obs, self._step),
            Kind.GET_STATE: (0, lambda _: floats(self.session.state)),
            Kind.SET_STATE: (4 * state, self._set_state),
            Kind.ROW: (4 + 4 * obs, self._hold),
            Kind.TIGHT: (4, self._tight),
            Kind.PACED: (12, self._paced),
            Kind.SAMPLES: (8, self._read_samples),
            Kind.STATS: (0, lambda _: self.stats.pack()),
            Kind.STOP: (0, self._stop),
        }
        if self._guarded is not None:
            self._requests |= {Kind.GUARDED: (4 + 4 * obs, self._guarded_step), Kind.GUARD: (0, self._guard_counters)}
            self._requests |= {Kind.TIGHT_GUARDED: (4, self._tight_guarded), Kind.PACED_GUARDED: (12, self._paced_guarded)}
        session.reset()

    @property
    def stats(self) -> Stats:
        """What it has counted; a frame that is too long counts as damaged."""
        counts = (self._frames, self._decoder.damaged, 0, self._repeated, self._refused)
        return Stats(*counts, self._decisions, self._last_ticks, self._worst_ticks)

    def feed(self, data: bytes) -> bytes:
        """Carry out the requests that ``data`` completes; their replies."""
        return b"".join(self._answer(frame) for frame in self._decoder.feed(data) if not self.stopped)

    def _answer(self, frame: Frame) -> bytes:
        self._frames += 1
        key = (frame.sequence, frame.kind, frame.payload)
        if self._last is not None and self._last[0] == key:
            self._repeated += 1
            return self._last[1]
        try:
            reply = encode(frame.kind | REPLY, frame.sequence, self._carry_out(frame))
        except _Refuse as refusal:
            self._refused += 1
            code, why = refusal.args
            reply = encode(Kind.ERROR | REPLY, frame.sequence, struct.pack("<I", code) + str(why).encode()[:1000])
        self._last = (key, reply)
        return reply

    def _carry_out(self, frame: Frame) -> bytes:
        known = self._requests.get(frame.kind)
        if known is None:
            raise _Refuse(Refusal.UNKNOWN_KIND, "there is no such request")
        length, carry_out = known
        if len(frame.payload) != length:
            raise _Refuse(Refusal.WRONG_LENGTH, "its payload has another length")
        try:
            return carry_out(frame.payload)
        except (PilotfishError, ValueError, RuntimeError, OSError) as error:
            raise _Refuse(Refusal.FAILED, f"{type(error).__name__}: {error}") from error

    def _reset(self, _: bytes) -> bytes:
        (self._guarded or self.session).reset()
        return b""

    def _step(self, payload: bytes) -> bytes:
        obs = np.frombuffer(payload, "<f4").astype(np.float32)
        begin = time.perf_counter_ns()
        action = self.session.act(obs)
        ticks = min(time.perf_counter_ns() - begin, MAX_TICKS)
        self._decisions += 1
        self._last_ticks, self._worst_ticks = ticks, max(ticks, self._worst_ticks)
        return pack_decision(action, ticks)

    def _guarded_step(self, payload: bytes) -> bytes:
        assert self._guarded is not None
        obs = np.frombuffer(payload, "<f4", offset=4).astype(np.float32)
        begin = time.perf_counter_ns()
        action = self._guarded.act_at(obs, int.from_bytes(payload[:4], "little"))
        ticks = min(time.perf_counter_ns() - begin, MAX_TICKS)
        return struct.pack("<II", ticks, self._guarded.last) + floats(action)

    def _guard_counters(self, _: bytes) -> bytes:
        assert self._guarded is not None
        counted = self._guarded.counters
        return struct.pack(f"<{len(COUNTERS)}I", *(counted[name] for name in COUNTERS))

    def _set_state(self, payload: bytes) -> bytes:
        self.session.state = np.frombuffer(payload, "<f4").astype(np.float32)
        return b""

    def _hold(self, payload: bytes) -> bytes:
        index = int.from_bytes(payload[:4], "little")
        if index >= ROWS or (index and index > len(self._rows)):
            raise _Refuse(Refusal.OUT_OF_RANGE, "rows are held one after another, from 0, up to the identity's rows")
        if index == 0:
            self._rows = []
        self._rows[index : index + 1] = [np.frombuffer(payload, "<f4", offset=4).astype(np.float32)]
        return b""

    def _measurable(self, count: int, most: int) -> None:
        if not self._rows:
            raise _Refuse(Refusal.OUT_OF_RANGE, "no observation is held: send ROW first")
        if not 0 < count <= most:
            raise _Refuse(Refusal.OUT_OF_RANGE, "from one decision up to what the identity's samples hold")
        self._reset(b"")

    def _tight(self, payload: bytes) -> bytes:
        (calls,) = struct.unpack("<I", payload)
        self._measurable(calls, SAMPLES)
        ticks = self.session.time_native(np.stack(self._rows), calls) if isinstance(self.session, CSession) else None
        return self._timed(self.session.act, calls) if ticks is None else self._keep(ticks)

    def _tight_guarded(self, payload: bytes) -> bytes:
        assert self._guarded is not None
        (calls,) = struct.unpack("<I", payload)
        self._measurable(calls, SAMPLES)
        return self._timed(GuardedSession(self.session, self._guarded.guard.table).act, calls)  # with counters of its own

    def _timed(self, act: Callable[[np.ndarray], np.ndarray], calls: int) -> bytes:
        rows, now, ticks = self._rows, time.perf_counter_ns, np.zeros(calls, np.int64)
        for call in range(calls):
            obs = rows[call % len(rows)]
            begin = now()
            act(obs)
            ticks[call] = now() - begin
        return self._keep(ticks)

    def _keep(self, ticks: np.ndarray) -> bytes:
        self._samples = np.minimum(ticks, MAX_TICKS).astype(np.uint32)
        return self._reset(b"")

    def _paced(self, payload: bytes) -> bytes:
        return self._pace(payload, self.session.act)

    def _paced_guarded(self, payload: bytes) -> bytes:
        assert self._guarded is not None
        return self._pace(payload, GuardedSession(self.session, self._guarded.guard.table).act)

    def _pace(self, payload: bytes, act: Callable[[np.ndarray], np.ndarray]) -> bytes:
        periods, fraction, whole = struct.unpack("<III", payload)
        self._measurable(periods, SAMPLES // 2)
        if not 0 < whole < 1 << 31:
            raise _Refuse(Refusal.OUT_OF_RANGE, "a period is from 1 to 2^31 - 1 ticks")
        rows = self._rows
        run = pace(lambda k: act(rows[k % len(rows)]), CLOCK_HZ / (whole + fraction / WRAP), periods)
        skipped = run.start_ns < 0
        start = np.where(skipped, SKIPPED, np.minimum(run.start_ns, MAX_TICKS))
        duration = np.where(skipped, 0, np.minimum(run.call_ns, MAX_TICKS))
        self._samples = np.stack([start, duration], axis=1).astype(np.uint32).reshape(-1)
        return self._reset(b"")

    def _read_samples(self, payload: bytes) -> bytes:
        first, count = struct.unpack("<II", payload)
        if first + count > len(self._samples) or 4 * count > self.identity.max_payload_bytes:
            raise _Refuse(Refusal.OUT_OF_RANGE, "there are not as many samples, or they do not fit into a payload")
        return self._samples[first : first + count].astype("<u4").tobytes()

    def _stop(self, _: bytes) -> bytes:
        self.stopped = True
        return b""


class _Refuse(Exception):
    """(code, why): the request is answered with ERROR."""


def serve(server: Server, read: Callable[[], bytes], write: Callable[[bytes], object]) -> None:
    """Until STOP, or until ``read`` returns b"": the line has ended."""
    while not server.stopped and (data := read()):
        reply = server.feed(data)
        if reply:
            write(reply)


def main(arguments: list[str] | None = None) -> int:
    """The program; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m pilotfish.runtime.serve", description=__doc__)
    parser.add_argument("artifact", help="the artifact's folder")
    parser.add_argument("--trust", action="store_true", help="run native code that was not built on this machine")
    chosen = parser.parse_args(arguments)
    line = os.dup(1)
    os.dup2(2, 1)  # the line carries frames and nothing else
    try:
        artifact = Artifact.load(chosen.artifact).reached_by(LocalLink())  # it is here now, however it came
        session = open_session(artifact, trust=chosen.trust)
        try:
            name, guard = host.device_name()[:64], read_guard(artifact.path)
            server = Server(session, artifact.manifest.policy_digest, name, guard)
            serve(server, lambda: os.read(0, 1 << 16), _writer(line))
        finally:
            session.close()
    except BrokenPipeError:
        return 0  # whoever asked is gone
    except PilotfishError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


def _writer(line: int) -> Callable[[bytes], None]:
    def write(data: bytes) -> None:
        while data:
            data = data[os.write(line, data) :]

    return write


if __name__ == "__main__":
    raise SystemExit(main())
