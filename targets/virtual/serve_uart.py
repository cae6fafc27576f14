"""A virtual board behind a pseudo-terminal, for whatever opens serial ports.

    python -m pilotfish.targets.virtual.serve_uart dist/NAME@crazyflie.c/serial/serial.elf crazyflie

It prints the link, then serves until it is interrupted:

    serial:///dev/pts/5?baud=115200

--fast leaves the cycle model out: ten times as fast, and the board's clock says nothing.
"""

from __future__ import annotations

import argparse
import os
import select
import sys
import tty
from pathlib import Path

from ...errors import PilotfishError
from ..profile import load_target
from .uart import UartBoard

IDLE_S = 0.5


def serve(board: UartBoard, master: int) -> None:
    """Bytes from the terminal to the board and back, until the terminal is gone. Nobody may be listening: then they are lost."""
    while True:
        if not select.select([master], [], [], IDLE_S)[0]:
            continue
        try:
            reply = board.exchange(os.read(master, 4096))
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
    chosen = parser.parse_args(arguments)
    try:
        target = load_target(chosen.target)
        board = UartBoard(chosen.firmware, target, metered=not chosen.fast)
        master, slave = os.openpty()
        tty.setraw(slave)  # held open too: a terminal nobody has open is gone
        assert target.uart is not None, "a UartBoard has one"
        sys.stdout.write(f"serial://{os.ttyname(slave)}?baud={target.uart.baud}\n")
        sys.stdout.flush()
        serve(board, master)
    except KeyboardInterrupt:
        return 0
    except PilotfishError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
