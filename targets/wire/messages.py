"""Messages: what is asked and answered, and how each payload is laid out (little-endian throughout)."""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from enum import IntEnum

import numpy as np

from ...errors import BadInput
from ...policy.guard import COUNTERS, GuardTable
from ...policy.guard_table import dumped

REPLY = 0x80
"""A reply's kind is its request's kind plus this."""
SKIPPED = 0xFFFFFFFF
"""As the start of a paced period: it had passed entirely before its decision could start."""
WRAP = 1 << 32
"""Ticks are counted modulo this."""


class Kind(IntEnum):
    """What a request asks for; docs/wire.md has every payload."""

    IDENTIFY = 1
    RESET = 2
    STEP = 3
    GET_STATE = 4
    SET_STATE = 5
    ROW = 6
    TIGHT = 7
    PACED = 8
    SAMPLES = 9
    STATS = 10
    STOP = 11
    GUARDED = 12
    GUARD = 13
    TIGHT_GUARDED = 14
    PACED_GUARDED = 15
    BUSY = 0x7E
    """Only as a reply (0xFE), to nothing: whoever stands on the line for the device says that it is at work, so wait on."""
    ERROR = 0x7F
    """Only as a reply (0xFF): why the request was not carried out."""


class Refusal(IntEnum):
    """Why a device did not do what it was asked."""

    UNKNOWN_KIND = 1
    WRONG_LENGTH = 2
    OUT_OF_RANGE = 3
    FAILED = 4
    """Only devices with an operating system: the policy itself raised an error."""
    WRONG_VERSION = 5


@dataclass(frozen=True)
class Identity:
    """What a device says of itself."""

    discrete: bool
    """True: the action is one index."""
    guarded: bool
    """True: it has a guard around the policy, and answers GUARDED and GUARD."""
    obs: int
    """Values of an observation."""
    state: int
    """Values of the recurrent state; 0: none."""
    action: int
    """Values of an action; 1 where it is discrete."""
    max_payload_bytes: int
    """Longest payload that it takes or sends."""
    rows: int
    """Observations that it can hold for TIGHT and PACED."""
    samples: int
    """32-bit words of samples that it can hold: one for each TIGHT decision, two for each PACED period."""
    clock_hz: int
    """Ticks of its clock in a second."""
    core_hz: int
    """Cycles of its processor in a second; 0 where it varies or is unknown."""
    digest: str
    """sha256 of the policy that it runs, hexadecimal; zeros where it was not told."""
    board: str
    """Its name, for people."""
    guard_mark: int = 0
    """:func:`guard_mark` of its guard; 0 where there is none, or it was not told."""

    _LAYOUT = struct.Struct("<2BH8I32s")

    def pack(self) -> bytes:
        numbers = (self.obs, self.state, self.action, self.max_payload_bytes)
        more = (self.rows, self.samples, self.clock_hz, self.core_hz)
        first = (self.discrete, self.guarded, self.guard_mark)
        return self._LAYOUT.pack(*first, *numbers, *more, bytes.fromhex(self.digest)) + self.board.encode()

    @classmethod
    def unpack(cls, payload: bytes) -> Identity:
        if len(payload) < cls._LAYOUT.size:
            raise BadInput("IDENTIFY's reply", expected=f"at least {cls._LAYOUT.size} bytes", found=f"{len(payload)}")
        discrete, flags, mark, *numbers, digest = cls._LAYOUT.unpack_from(payload)
        if not (discrete in (0, 1) and numbers[0] and numbers[2] and numbers[3] >= 4 and numbers[6]):
            raise BadInput("IDENTIFY's reply", expected="an observation, an action and a clock", found=f"{numbers}")
        board = payload[cls._LAYOUT.size :].decode("utf-8", "replace")
        obs, state, action, most, rows, samples, clock_hz, core_hz = numbers
        return cls(
            bool(discrete), bool(flags & 1), obs, state, action, most, rows, samples, clock_hz, core_hz, digest.hex(), board, mark
        )


@dataclass(frozen=True)
class Decision:
    """STEP's reply."""

    action: np.ndarray
    """float32 [action], or int64 [1] where it is an index."""
    ticks: int
    """From the call of the policy to its return, by the device's own clock."""


@dataclass(frozen=True)
class GuardedDecision(Decision):
    """GUARDED's reply: ticks include the guard's own work."""

    flags: int
    """What happened: bits of :class:`pilotfish.policy.guard.Flag`; 0: the policy's own action."""


@dataclass(frozen=True)
class Stats:
    """What a device has counted since it started."""

    frames: int
    """Requests that arrived sound."""
    damaged: int
    """Frames that it dropped: flipped, lost or invented bytes."""
    oversized: int
    """Frames longer than any that it takes."""
    repeated: int
    """Requests that it had carried out already, and answered from memory."""
    refused: int
    """ERROR replies."""
    decisions: int
    """Calls of the policy by STEP."""
    last_ticks: int
    """Of the latest of them."""
    worst_ticks: int
    """Of the slowest of them."""

    _LAYOUT = struct.Struct("<8I")

    def pack(self) -> bytes:
        counts = (self.frames, self.damaged, self.oversized, self.repeated, self.refused)
        return self._LAYOUT.pack(*counts, self.decisions, self.last_ticks, self.worst_ticks)

    @classmethod
    def unpack(cls, payload: bytes) -> Stats:
        """Later versions may append to it: what stands behind is not read."""
        if len(payload) < cls._LAYOUT.size:
            raise BadInput("STATS' reply", expected=f"at least {cls._LAYOUT.size} bytes", found=f"{len(payload)}")
        return cls(*cls._LAYOUT.unpack_from(payload))


def guard_mark(table: GuardTable) -> int:
    """16 bits by which guards of other tables are told apart, 1 to 65,535: of the CRC-32 of what guard.json holds."""
    return zlib.crc32(dumped(table).encode()) & 0xFFFF or 1


def floats(values: np.ndarray) -> bytes:
    """float32 values as they travel; a NaN keeps its bits."""
    return np.ascontiguousarray(values, "<f4").tobytes()


def pack_decision(action: np.ndarray, ticks: int) -> bytes:
    """STEP's reply: ticks, then float32 or int32 values."""
    kind = "<i4" if np.asarray(action).dtype.kind in "iu" else "<f4"
    return struct.pack("<I", ticks % WRAP) + np.ascontiguousarray(action, kind).tobytes()


def unpack_guarded(payload: bytes, identity: Identity) -> GuardedDecision:
    """GUARDED's reply from a device of that ``identity``; BadInput where it is of another size."""
    wanted = 8 + 4 * identity.action
    if len(payload) != wanted:
        raise BadInput("GUARDED's reply", expected=f"{wanted} bytes", found=f"{len(payload)}")
    ticks, flags = struct.unpack_from("<II", payload)
    return GuardedDecision(np.frombuffer(payload, "<f4", offset=8).astype(np.float32), ticks, flags)


def unpack_counters(payload: bytes) -> dict[str, int]:
    """GUARD's reply by name; what stands behind is not read."""
    if len(payload) < 4 * len(COUNTERS):
        raise BadInput("GUARD's reply", expected=f"at least {4 * len(COUNTERS)} bytes", found=f"{len(payload)}")
    return dict(zip(COUNTERS, struct.unpack_from(f"<{len(COUNTERS)}I", payload), strict=True))


def unpack_decision(payload: bytes, identity: Identity) -> Decision:
    """STEP's reply from a device of that ``identity``; BadInput where it is of another size."""
    wanted = 4 + 4 * identity.action
    if len(payload) != wanted:
        raise BadInput("STEP's reply", expected=f"{wanted} bytes", found=f"{len(payload)}")
    values = np.frombuffer(payload, "<i4" if identity.discrete else "<f4", offset=4)
    action = values.astype(np.int64 if identity.discrete else np.float32)
    return Decision(action, int.from_bytes(payload[:4], "little"))


def unpack_floats(payload: bytes, count: int, what: str) -> np.ndarray:
    """``count`` values float32; BadInput where there are more or fewer."""
    if len(payload) != 4 * count:
        raise BadInput(what, expected=f"{4 * count} bytes", found=f"{len(payload)}")
    return np.frombuffer(payload, "<f4").astype(np.float32)


def pack_period(hz: float, clock_hz: int) -> tuple[int, int]:
    """(fraction, whole): one period at ``hz`` in ticks of ``clock_hz``, in units of 2^-32 tick, split into two words."""
    ticks = round(clock_hz * WRAP / hz) if hz > 0 else 0
    if not WRAP <= ticks < WRAP << 31:
        raise BadInput("hz", expected=f"a period of 1 to {1 << 31:,} ticks of a {clock_hz:,} Hz clock", found=f"{hz:g} Hz")
    return ticks % WRAP, ticks // WRAP
