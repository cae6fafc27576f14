"""A board on a serial port: its firmware is the policy, so nothing is installed and no step runs there; it is talked to."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from ...errors import BadInput, MissingTool, Unreachable, require
from ..reach import SerialLink, link_name
from ..wire.client import Client
from ..wire.messages import Identity
from .link import Channel, Device, Dropped, Installed, Progress, checked_files

FIRMWARE = "firmware"
"""As a device's machine: nothing but what was programmed runs there."""
BITS_A_BYTE = 10
"""Start bit, eight of data, stop bit."""
TURN_S = 0.4
"""What a USB adapter, two operating systems' buffers and a decision of a small policy take at most, generously. The client's
patience grows from there: a board that is dead has been given up after ten seconds."""
EMULATED_TURN_S = 1.0
"""Behind a pseudo-terminal, until the emulator says that it is at work: it is a program that waits for its processor. One that
has ended hangs up, and is not waited for at all."""
ATTEMPTS = 8
REPLUG_S = 10.0
"""A board that was unplugged is waited for this long."""
POLL_S = 0.05


class SerialPort:
    """A port that is open: see :class:`pilotfish.targets.links.link.Channel`."""

    def __init__(self, settings: SerialLink, patience_s: float = 0.0) -> None:
        """Open it, exclusively; for ``patience_s`` it may be missing. Unreachable where it cannot be opened."""
        serial = require("serial", "serial")
        self._name, self._errors = settings.port, (serial.SerialException, OSError, TypeError)
        # TypeError: what pyserial's read raises where another thread has closed the port.
        until = time.monotonic() + patience_s
        while True:
            try:
                self._port: Any = serial.Serial(settings.port, settings.baud, timeout=POLL_S, exclusive=True)
                return
            except (serial.SerialException, OSError) as error:
                if time.monotonic() >= until:
                    raise Unreachable(f"the serial port {settings.port}: {error}") from error
                time.sleep(4 * POLL_S)
            except ValueError as error:
                raise BadInput(f"the serial port {settings.port}", expected="a baud rate it has", found=str(error)) from error

    def read(self, max_bytes: int, timeout_s: float) -> bytes:
        until = time.monotonic() + timeout_s
        try:
            while True:
                data = bytes(self._port.read(1))
                if data:
                    return data + bytes(self._port.read(min(self._port.in_waiting, max_bytes - 1)))
                if time.monotonic() >= until:
                    return b""
        except self._errors as error:
            raise Dropped(f"the serial port {self._name}: {error}") from error

    def write(self, data: bytes) -> None:
        try:
            self._port.write(data)
            self._port.flush()
        except self._errors as error:
            raise Dropped(f"the serial port {self._name}: {error}") from error

    def close(self) -> None:
        self._port.close()


class BoardOnSerial:
    """See :class:`pilotfish.targets.links.link.Link`. The port is opened when it is first talked to, and shared from then on."""

    def __init__(self, settings: SerialLink) -> None:
        self.settings, self.name = settings, link_name(settings)
        self._open: SerialPort | None = None
        self._seen = False

    @cached_property
    def _identity(self) -> Identity:
        return Client(self._port(), timeout_s=self._turn_s, attempts=ATTEMPTS).identity

    @property
    def _turn_s(self) -> float:
        return EMULATED_TURN_S if self.settings.behind_terminal else TURN_S

    def _port(self) -> SerialPort:
        if self._open is None:
            # An emulator that has ended does not come back under its terminal's name.
            again = self._seen and not self.settings.behind_terminal
            self._open = SerialPort(self.settings, REPLUG_S if again else 0.0)
            self._seen = True
        return self._open

    def device(self) -> Device:
        identity = self._identity
        # Whatever answers behind a pseudo-terminal, it is not a UART of this computer.
        pretend = " (behind a pseudo-terminal: an emulator or a bridge)" if self.settings.behind_terminal else ""
        facts = {
            "machine": FIRMWARE,
            "device": identity.board + pretend,
            "cpu": identity.board,
            "core_hz": identity.core_hz or None,
            "clock_hz": identity.clock_hz,
            "policy": identity.digest,
            "baud": self.settings.baud,
            "link": self.name,
        }
        return Device(identity.board + pretend, FIRMWARE, None, "a board that runs nothing but its firmware", None, facts)

    def install(self, folder: Path, files: Mapping[str, str]) -> Installed:
        """Nothing is carried: the firmware has been programmed by other means. That it is this policy's is checked when it is
        flown, by the digest that it bears."""
        del folder
        names = frozenset(checked_files(files))
        return Installed(self.settings.port, self._identity.digest, names, 0)

    def run(
        self, installed: Installed, verb: str, options: Mapping[str, Any], progress: Progress | None = None
    ) -> dict[str, Any]:
        del installed, options, progress
        raise MissingTool(f"{self.name}: {verb} needs a device with Python; a board is flown over its channel")

    def channel(self, installed: Installed, arguments: tuple[str, ...] = ()) -> Channel:
        """The port, given up and opened anew where it was open: a board that was unplugged comes back as another file."""
        del installed, arguments
        self.close()
        return self._port()

    @property
    def timeout_s(self) -> float:
        """What one request and its reply may take, the longest that the device takes each way."""
        longest = 2 * (self._identity.max_payload_bytes + 32)
        return self._turn_s + longest * BITS_A_BYTE / self.settings.baud

    def close(self) -> None:
        if self._open is not None:
            self._open.close()
            self._open = None
