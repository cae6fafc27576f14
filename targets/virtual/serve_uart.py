"""A virtual board behind a pseudo-terminal, for whatever opens serial ports.

    python -m pilotfish.targets.virtual.serve_uart dist/NAME@crazyflie.c/serial/serial.elf crazyflie

It prints the link, then serves until it is interrupted:

    serial:///dev/pts/5?baud=115200

--fast leaves the cycle model out: ten times as fast, and the board's clock says nothing. --noise 0.001 flips, loses or invents
one byte in a thousand, both ways.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import select
import sys
import threading
import time
import tty
from collections.abc import Callable
from pathlib import Path

from ...errors import BadInput, PilotfishError
from ..profile import load_target
from ..wire.frames import encode
from ..wire.messages import REPLY, Kind
from .uart import UartBoard

IDLE_S = 0.5
BUSY_EVERY_S = 0.25
"""While the firmware runs, the other end is told so this often: what takes a board a moment may take its emulator seconds."""
BUSY = encode(Kind.BUSY | REPLY, 0)


class Noise:
    """Bytes through it are flipped in one bit, lost, or preceded by another, each as likely, ``rate`` of them altogether."""

    def __init__(self, rate: float, seed: int = 0) -> None:
        if not 0 <= rate < 1:
            raise BadInput("--noise", expected="a share of the bytes, from 0 to below 1", found=f"{rate:g}")
        self._rate, self._random = rate, random.Random(seed)

    def __call__(self, data: bytes) -> bytes:
        if not self._rate:
            return data
        out = bytearray()
        for byte in data:
            kind = self._random.randrange(3) if self._random.random() < self._rate else None
            if kind == 0:
                out.append(byte ^ 1 << self._random.randrange(8))
            elif kind == 1:
                out += bytes((self._random.randrange(256), byte))
            elif kind is None:
                out.append(byte)
        return bytes(out)


class Pulse:
    """Calls ``beat`` now and then from a thread of its own while it is entered, and not once it has been left."""

    def __init__(self, beat: Callable[[], object], every_s: float) -> None:
        self._beat, self._every_s = beat, every_s
        self._lock, self._working = threading.Lock(), threading.Event()
        threading.Thread(target=self._run, daemon=True).start()

    def __enter__(self) -> None:
        self._working.set()

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._working.clear()

    def _run(self) -> None:
        while True:
            self._working.wait()
            time.sleep(self._every_s)
            with self._lock:
                if self._working.is_set():
                    self._beat()


def serve(board: UartBoard, master: int, noise: Noise) -> None:
    """Bytes from the terminal to the board and back, until the terminal is gone. Nobody may be listening: then they are lost."""

    def busy() -> None:
        with contextlib.suppress(OSError):
            if select.select([], [master], [], 0)[1]:
                os.write(master, noise(BUSY))

    pulse = Pulse(busy, BUSY_EVERY_S)
    while True:
        if not select.select([master], [], [], IDLE_S)[0]:
            continue
        try:
            arrived = noise(os.read(master, 4096))
            with pulse:
                reply = noise(board.exchange(arrived))
            while reply and select.select([], [master], [], IDLE_S)[1]:
                reply = reply[os.write(master, reply) :]
        except OSError:
            return


def main(arguments: list[str] | None = None) -> int:
    """The program; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m pilotfish.targets.virtual.serve_uart", description=__doc__)
    parser.add_argument("firmware", type=Path, help="serial.elf of an artifact")
    parser.add_argument("target", help="the target that it was built for, or its .toml")
    parser.add_argument("--fast", action="store_true", help="no cycle model: the board's clock counts its own readings")
    parser.add_argument("--noise", type=float, default=0.0, help="share of the bytes that arrive wrong, both ways")
    chosen = parser.parse_args(arguments)
    try:
        target, noise = load_target(chosen.target), Noise(chosen.noise)
        board = UartBoard(chosen.firmware, target, metered=not chosen.fast)
        master, slave = os.openpty()
        tty.setraw(slave)  # held open too: a terminal nobody has open is gone
        assert target.uart is not None, "a UartBoard has one"
        sys.stdout.write(f"serial://{os.ttyname(slave)}?baud={target.uart.baud}\n")
        sys.stdout.flush()
        serve(board, master, noise)
    except KeyboardInterrupt:
        return 0
    except PilotfishError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
