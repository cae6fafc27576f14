"""Frames: a message on a line that may flip, lose or invent bytes.

On the line a frame is a zero, the message with its zeros stuffed away, and another zero. The stuffing is COBS (Cheshire and
Baker, "Consistent Overhead Byte Stuffing", IEEE/ACM Transactions on Networking 7(2), 1999): a zero is never anything but the
edge of a frame, so a listener that came late, or lost some bytes, is in step again at the next zero, and damage ends there.

Inside, little-endian: version (1 byte), kind (1), sequence number (4), payload length (4), payload, and the CRC-32 of zlib
and Ethernet (4) over all that stands before it. A damaged frame is dropped in silence: whoever waits for it asks again.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

from ...errors import BadInput

VERSION = 1
"""Of the protocol. These ten bytes of header, the CRC and the stuffing stay as they are in every version."""
HEADER = struct.Struct("<BBII")
"""version, kind, sequence number, payload length"""
CRC_BYTES = 4
OVERHEAD_BYTES = HEADER.size + CRC_BYTES
"""What a message has beside its payload."""
MAX_PAYLOAD_BYTES = 1 << 20
"""No payload is longer, whatever a device says of itself: 262,144 values of float32."""


@dataclass(frozen=True)
class Frame:
    """One message, as it was sent."""

    kind: int
    """What it is, 0 to 255; see :mod:`pilotfish.targets.wire.messages`."""
    sequence: int
    """0 to 2^32 - 1: a reply bears the number of its request."""
    payload: bytes
    """At most MAX_PAYLOAD_BYTES."""
    version: int = VERSION
    """Of the protocol that it was sent in."""


def stuffed(data: bytes) -> bytes:
    """COBS: the same information without a zero in it, at most one byte in 254 longer (and one more)."""
    out = bytearray()
    last = data.split(b"\0")
    for index, run in enumerate(last):
        at = 0
        while len(run) - at >= 254:
            out.append(255)
            out += run[at : at + 254]
            at += 254
        # 254 full bytes that end the data need no group of their own behind them.
        if at and at == len(run) and index == len(last) - 1:
            break
        out.append(len(run) - at + 1)
        out += run[at:]
    return bytes(out)


def unstuffed(data: bytes) -> bytes | None:
    """What :func:`stuffed` was given, or None where ``data`` is nothing that it could have made. ``data`` holds no zero."""
    out, at = bytearray(), 0
    while at < len(data):
        code = data[at]
        group = data[at + 1 : at + code]
        if code == 0 or len(group) != code - 1:
            return None
        out += group
        at += code
        if code != 255 and at < len(data):
            out.append(0)
    return bytes(out)


def encode(kind: int, sequence: int, payload: bytes = b"") -> bytes:
    """The bytes of one frame on the line, both zeros included."""
    if len(payload) > MAX_PAYLOAD_BYTES:
        raise BadInput("a message", expected=f"at most {MAX_PAYLOAD_BYTES:,} bytes", found=f"{len(payload):,}")
    message = HEADER.pack(VERSION, kind, sequence, len(payload)) + payload
    return b"\0" + stuffed(message + struct.pack("<I", zlib.crc32(message))) + b"\0"


def decoded(message: bytes) -> Frame | None:
    """The frame of one unstuffed message, or None where it is damaged."""
    if len(message) < OVERHEAD_BYTES:
        return None
    body, crc = message[:-CRC_BYTES], message[-CRC_BYTES:]
    version, kind, sequence, length = HEADER.unpack_from(body)
    if struct.pack("<I", zlib.crc32(body)) != crc or length != len(body) - HEADER.size:
        return None
    return Frame(kind, sequence, body[HEADER.size :], version)


class Decoder:
    """Bytes as they arrive -> frames. Holds at most one frame of ``max_payload`` bytes, whatever arrives."""

    def __init__(self, max_payload: int = MAX_PAYLOAD_BYTES) -> None:
        longest = max_payload + OVERHEAD_BYTES
        self.max_bytes = longest + longest // 254 + 1
        """Longest stuffed frame that is kept; a longer one is dropped up to the next zero."""
        self._held = bytearray()
        self._dropping = False
        self.damaged = 0
        """Frames that were dropped: flipped, lost or invented bytes, or too long."""
        self.foreign_version: int | None = None
        """The version of the latest sound frame that was dropped because it is not ours."""

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that ``data`` completes, in order."""
        found = []
        pieces = data.split(b"\0")
        for index, piece in enumerate(pieces):
            if not self._dropping:
                if len(self._held) + len(piece) > self.max_bytes:
                    self._held.clear()
                    self._dropping = True
                else:
                    self._held += piece
            if index == len(pieces) - 1:  # no zero behind it yet
                break
            frame = self._end()
            if frame is not None:
                found.append(frame)
        return found

    def _end(self) -> Frame | None:
        """A zero arrived: what was held is a frame, nothing (two zeros in a row), or damaged."""
        held, dropping = bytes(self._held), self._dropping
        self._held.clear()
        self._dropping = False
        if not held and not dropping:
            return None
        message = None if dropping else unstuffed(held)
        frame = None if message is None else decoded(message)
        if frame is not None and frame.version != VERSION:
            self.foreign_version = frame.version
            return None
        self.damaged += frame is None
        return frame
