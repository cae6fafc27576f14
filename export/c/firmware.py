"""policy.c -> firmware.elf for a board, with Zig's clang; the image is checked against the board's memory."""

from __future__ import annotations

import re
import struct
from pathlib import Path

from ...errors import BadInput, Unsupported
from ...targets.profile import Target
from ...targets.virtual.isa import ISAS
from ..fit import DoesNotFit
from .toolchain import BASE_FLAGS, CompileError, Compiler, checked_flags, zig_compiler

STACK_RESERVE_BYTES = 2048
"""RAM that must be left for the stack; a dense float network takes less than 1 KiB."""
SOURCES = ("policy.c", "harness.c", "startup.c")


def build_firmware(
    folder: Path, target: Target, compiler: Compiler | None = None, more: tuple[str, ...] = ()
) -> tuple[dict[str, str], dict[str, int]]:
    """Compile and link the sources in ``folder``, and the files ``more``, with link.ld to firmware.elf.

    Returns (tools, sizes): flash is what must be programmed, ram the static .data and .bss, both in bytes.
    Raises DoesNotFit with the numbers if it does not fit; MissingTool without Zig.
    """
    compiler, flags = compiler or zig_compiler(), firmware_flags(target)
    link(compiler, target, flags, [*SOURCES, *more], folder)
    flash, ram = image_sizes((folder / "firmware.elf").read_bytes(), target)
    limit = target.memory.ram_bytes or 0
    if ram + STACK_RESERVE_BYTES > limit:
        detail = f"{ram:,} of static data, {STACK_RESERVE_BYTES:,} set aside for the stack"
        raise DoesNotFit(target, "RAM", ram + STACK_RESERVE_BYTES, limit, detail)
    return {"compiler": compiler.version, "flags": " ".join(flags)}, {"flash": flash, "ram": ram}


def firmware_flags(target: Target) -> list[str]:
    """How every file of a firmware is compiled; Unsupported for a target that none can be linked for."""
    triple, mcpu = target.compile.triple, target.compile.mcpu
    known = tuple(start for isa in ISAS.values() for start in isa.triples)
    if not triple.startswith(known) or not mcpu:
        raise Unsupported(
            f"target {target.name}, compile",
            expected=f'a triple that begins with {" or ".join(known)}, and an mcpu such as "cortex_m4"',
            found=f"{triple!r} and {mcpu!r}",
        )
    return [
        *BASE_FLAGS,
        "-target",
        triple,
        f"-mcpu={mcpu}",
        *checked_flags(target),
        "-ffreestanding",
        "-ffunction-sections",
        "-fdata-sections",
        "-g",  # zig strips symbols at -Os and -Oz otherwise, and a board finds the policy by its symbols; none of it is flashed
    ]


def link(
    compiler: Compiler,
    target: Target,
    flags: list[str],
    sources: list[str],
    folder: Path,
    *,
    script: str = "link.ld",
    output: str = "firmware.elf",
) -> None:
    """Compile ``sources`` in ``folder``, link them by ``script`` to ``output``. Raises DoesNotFit if flash or RAM overflows."""
    arguments = [
        *flags,
        f"-Wl,-T,{script}",
        "-Wl,-e,Reset_Handler",
        "-Wl,-z,max-page-size=4096",
        "-Wl,--gc-sections",
        "-o",
        output,
        *sources,
    ]
    try:
        compiler.run(arguments, folder)
    except CompileError as error:
        raise _too_large(target, str(error)) or error from None


def memory_map(target: Target) -> dict[str, str]:
    """What the linker script needs to know; refuses a profile without memory sizes."""
    memory = target.memory
    if memory.flash_bytes is None or memory.ram_bytes is None:
        raise BadInput(f"target {target.name}", expected="memory.flash_bytes and memory.ram_bytes", found="none")
    return {
        "flash_origin": hex(memory.flash_origin),
        "flash_bytes": str(memory.flash_bytes),
        "ram_origin": hex(memory.ram_origin),
        "ram_bytes": str(memory.ram_bytes),
    }


def image_sizes(elf: bytes, target: Target) -> tuple[int, int]:
    """(flash, static RAM) in bytes from the program headers of a little-endian ELF file just linked."""
    memory = target.memory
    wide = elf[4] == 2
    offset = struct.unpack_from("<Q" if wide else "<I", elf, 32 if wide else 28)[0]
    size, count = struct.unpack_from("<HH", elf, 54 if wide else 42)
    flash = ram = 0
    for index in range(count):
        at = offset + index * size
        # Elf64_Phdr: type, flags, offset, vaddr, paddr, filesz, memsz. Elf32_Phdr: type, offset, vaddr, paddr, filesz, memsz.
        if wide:
            kind, _, _, address, _, in_file, in_memory = struct.unpack_from("<2I5Q", elf, at)
        else:
            kind, _, address, _, in_file, in_memory = struct.unpack_from("<6I", elf, at)
        if kind != 1:  # PT_LOAD
            continue
        flash += in_file
        if memory.ram_origin <= address < memory.ram_origin + (memory.ram_bytes or 0):
            ram += in_memory
    return flash, ram


def _too_large(target: Target, message: str) -> DoesNotFit | None:
    """The linker's "will not fit" as numbers, or None for any other failure."""
    found = re.findall(r"will not fit in region '(\w+)': overflowed by (\d+) bytes", message)
    if not found:
        return None
    # One line per section: the last one that did not fit overflows by the sum.
    flash = found[0][0] == "FLASH"
    over = max(int(count) for region, count in found if region == found[0][0])
    limit = (target.memory.flash_bytes if flash else target.memory.ram_bytes) or 0
    return DoesNotFit(target, "flash" if flash else "RAM", over + limit, limit)
