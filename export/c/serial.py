"""serial/: a firmware that answers the wire protocol on a board's serial line, built beside the one that a virtual board runs."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from string import Template

from ...errors import Unsupported
from ...policy.bundle import Policy
from ...policy.guard import GuardTable
from ...policy.guard_table import read_guard
from ...targets.profile import Target
from ...targets.uart import Uart
from ..fit import DoesNotFit
from .firmware import STACK_RESERVE_BYTES, firmware_flags, image_sizes, link, memory_map
from .flash_image import BOOT_BYTES, UF2_FAMILY_RP2040, flat, uf2, with_boot_checksum
from .functions import template
from .toolchain import Compiler, zig_compiler
from .wire import wire_files

FOLDER = "serial"
"""Inside the artifact."""
ELF = "serial.elf"
_BOOT = """  .boot2 : {
    _boot_start = .;
    KEEP(*(.boot2))
    . += 252 - (. - _boot_start);
    LONG(0)
  } > BOOT
"""


@dataclass(frozen=True)
class Board:
    """What a board's C file takes for granted."""

    core_hz: float
    """It sets this clock."""
    crystal_hz: int
    """Of the usual board."""
    second_stage: bool = False
    """True: flash begins with a second stage of the boot, and the image is made as UF2 too."""


BOARDS = {
    # crazyflie-firmware, Makefile: HSE_VALUE; a Raspberry Pi Pico's.
    "stm32f405": Board(168e6, 8_000_000),
    "rp2040": Board(125e6, 12_000_000, second_stage=True),
}


def serial_beside(policy: Policy, target: Target, folder: Path) -> tuple[str, dict[str, int]]:
    """:func:`build_serial` for an artifact that is whole without it: (a line about it, sizes); where it cannot be, why."""
    try:
        sizes = build_serial(policy, target, folder)
    except (DoesNotFit, Unsupported) as reason:
        shutil.rmtree(folder / FOLDER, ignore_errors=True)
        return f"none: {reason}", {}
    return f"{FOLDER}/{ELF}, {FOLDER}/README.txt says how to use it", sizes


def build_serial(policy: Policy, target: Target, folder: Path, compiler: Compiler | None = None) -> dict[str, int]:
    """Write and build ``folder``/serial from the policy.c (and guard.c) in ``folder``; returns {"serial_flash", "serial_ram"}.

    Sizes in bytes: what is programmed, and static memory. Raises Unsupported for a profile that its [uart] table does not go
    with, DoesNotFit with the numbers, MissingTool without Zig.
    """
    uart = target.uart
    assert uart is not None, "the caller asks for what the profile has"
    board = _checked(target, uart)
    place = folder / FOLDER
    place.mkdir()
    guard = read_guard(folder)
    for name, text in _files(policy, target, uart, board, guard).items():
        (place / name).write_text(text, encoding="utf-8")
    for name in ("policy.h",) if guard is None else ("policy.h", "guard.h"):
        shutil.copy(folder / name, place / name)
    # Compiled as the other firmware is, from the same folder: Zig takes the policy, the long part, from its cache.
    sources = ["policy.c", *(f"{FOLDER}/{name}" for name in ("wire.c", "board.c", "main.c", "startup.c"))]
    if guard is not None:
        sources.append("guard.c")
    script, output = f"{FOLDER}/serial.ld", f"{FOLDER}/{ELF}"
    link(compiler or zig_compiler(), target, firmware_flags(target), sources, folder, script=script, output=output)
    elf = (place / ELF).read_bytes()
    if board.second_stage:
        elf = with_boot_checksum(elf)
        (place / ELF).write_bytes(elf)
    flash, ram = image_sizes(elf, target)
    limit = target.memory.ram_bytes or 0
    if ram + STACK_RESERVE_BYTES > limit:
        detail = f"{ram:,} of static data in serial firmware, {STACK_RESERVE_BYTES:,} set aside for the stack"
        raise DoesNotFit(target, "RAM", ram + STACK_RESERVE_BYTES, limit, detail)
    start, image = flat(elf)
    (place / "serial.bin").write_bytes(image)
    if board.second_stage:
        (place / "serial.uf2").write_bytes(uf2(start, image, UF2_FAMILY_RP2040))
    return {"serial_flash": flash, "serial_ram": ram}


def _checked(target: Target, uart: Uart) -> Board:
    board = BOARDS[uart.board]
    if target.cpu.clock_hz != board.core_hz:
        raise Unsupported(
            f"target {target.name}, uart.board",
            expected=f"cpu.clock_hz = {board.core_hz:g}, which board_{uart.board}.c sets",
            found=f"{target.cpu.clock_hz}",
        )
    if board.second_stage and uart.flash_offset_bytes != BOOT_BYTES:
        raise Unsupported(
            f"target {target.name}, uart.flash_offset_bytes",
            expected=f"{BOOT_BYTES}: the second stage of the boot",
            found=f"{uart.flash_offset_bytes}",
        )
    return board


def _files(policy: Policy, target: Target, uart: Uart, board: Board, guard: GuardTable | None) -> dict[str, str]:
    places = memory_map(target) | {"offset_bytes": str(uart.flash_offset_bytes), "boot": _BOOT if board.second_stage else ""}
    start = int(places["flash_origin"], 16) + (0 if board.second_stage else uart.flash_offset_bytes)
    told = {"baud": str(uart.baud), "board": uart.board, "start": f"{start:#010x}", "name": target.name}
    settings = f"/* What board.c takes from the target's [uart]. */\n#define BOARD_BAUD {uart.baud}\n"
    settings += f"#define BOARD_CRYSTAL_HZ {uart.crystal_hz or board.crystal_hz}\n"
    return wire_files(policy, guard) | {
        "settings.h": settings,
        "board.c": template(f"board_{uart.board}.c"),
        "main.c": template("serial_main.c"),
        "startup.c": "#define PILOTFISH_MAIN\n" + template("startup.c"),
        "serial.ld": Template(template("serial.ld.in")).substitute(places),
        "README.txt": Template(template(f"serial_{uart.board}.txt.in")).substitute(told),
    }
