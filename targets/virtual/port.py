"""The port of a virtual board: where the bytes of its serial line arrive and leave, and what a chip's registers act on."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

TOLERATED = 0.02
"""A receiver of 16 samples a bit follows a sender that is off by this share, and not much more, over ten bits."""


class Port:
    """Both directions, the baud rate of the other end, the board's cycle counter, and how the firmware is made to pause."""

    def __init__(self, baud: int, cycles: Callable[[], int], pause: Callable[[], None]) -> None:
        self.baud, self.cycles, self._pause = baud, cycles, pause
        self._received: deque[int] = deque()
        self._sent = bytearray()
        self._looks = 0

    def arrive(self, data: bytes) -> None:
        """Bytes from the other end."""
        self._received.extend(data)
        self._looks = 0

    def leave(self) -> bytes:
        """Bytes for the other end, once."""
        out = bytes(self._sent)
        self._sent.clear()
        return out

    def waiting(self, baud: float) -> bool:
        """Is there a byte for a receiver at ``baud``? Where there is none at a second look in a row the firmware pauses.

        One look may be about sending: both stand in one status register.
        """
        if not self._received:
            self._looks += 1
            if self._looks > 1:
                self._pause()
        elif not self._understood(baud):
            self._received.clear()  # framing errors: nothing of it is what was sent
        return bool(self._received)

    def take(self) -> int:
        """The next byte, or 0 where there is none."""
        return self._received.popleft() if self._received else 0

    def send(self, byte: int, baud: float) -> None:
        """A byte at ``baud``; lost where the other end listens at another rate."""
        self._looks = 0
        if self._understood(baud):
            self._sent.append(byte)

    def _understood(self, baud: float) -> bool:
        return abs(baud / self.baud - 1) <= TOLERATED


class Chip(Protocol):
    """The registers that a serial firmware touches, and no others."""

    pages: tuple[tuple[int, int], ...]
    """(address, bytes) of what it maps."""

    def read(self, address: int) -> int:
        """The 32-bit register at ``address``; Fault where the chip has none there, or it cannot be read now."""

    def write(self, address: int, value: int) -> None:
        """Likewise."""

    @property
    def core_hz(self) -> float:
        """What the clock registers have set."""


class Fault(Exception):
    """What the real chip would not do: an access to a register that is not there, or a clock that outruns its flash."""
