"""The firmware image: an ELF file read with distrust, bounded, and checked against the board's memory."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import BadInput, require
from ..profile import Memory
from .isa import ISAS, Isa

MAX_FILE_BYTES = 64 << 20
"""No firmware of a microcontroller is larger; a larger file is refused before it is read."""
MAX_SEGMENTS = 64
MAX_SECTIONS = 4096
MAX_SYMBOLS = 100_000


@dataclass(frozen=True)
class Segment:
    """One loadable piece: ``data`` is stored at ``load`` and runs (or is copied to) ``address``."""

    address: int
    load: int
    data: bytes
    memory_bytes: int


@dataclass(frozen=True)
class Symbol:
    """Where a function or variable lies; ``address`` has no Thumb bit."""

    name: str
    address: int
    size: int


@dataclass(frozen=True)
class Image:
    """What an ELF file puts where."""

    path: Path
    entry: int
    segments: tuple[Segment, ...]
    symbols: dict[str, Symbol]
    flash_bytes: int
    """Bytes that must be programmed: file bytes of all loadable segments."""
    ram_static_bytes: int
    """RAM that is taken before the first call: .data and .bss, no stack."""
    static_ranges: tuple[tuple[int, int], ...]
    """[start, stop) of every statically used piece of RAM."""

    def symbol(self, name: str, size: int | None = None) -> Symbol:
        """The symbol ``name``, of ``size`` bytes where that is given, or BadInput."""
        found = self.symbols.get(name)
        if found is None:
            raise BadInput(
                self.path, expected=f"the symbol {name}", found="none", repair="Build it with: pilotfish export --backend c"
            )
        if size is not None and found.size != size:
            raise BadInput(self.path, expected=f"{name} of {size} bytes", found=f"{found.size} bytes")
        return found

    def name_at(self, address: int) -> str:
        """The symbol that ``address`` falls into, such as "policy_step+0x1a", or the address."""
        best = max((s for s in self.symbols.values() if s.address <= address), key=lambda s: s.address, default=None)
        if best is None or address >= best.address + max(best.size, 4):
            return f"{address:#010x}"
        return f"{best.name}+{address - best.address:#x}"


def read_image(path: Path, memory: Memory, isa: Isa = ISAS["thumb"]) -> Image:
    """Read the ELF file at ``path`` for a board with ``memory`` and a core of ``isa``; executes nothing.

    Raises BadInput, in one line, for anything but a little-endian executable of that instruction set whose segments fit.
    """
    if not path.is_file():
        raise BadInput(path, expected="a firmware ELF file", found="a folder" if path.is_dir() else "no such file")
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise BadInput(path, expected=f"a firmware ELF file of at most {MAX_FILE_BYTES >> 20} MiB", found=f"{size:,} bytes")
    data = path.read_bytes()
    _check_header(path, data, isa)
    try:
        segments, symbols, entry = _parse(path, data)
    except _broken_elf_errors() as error:
        raise _damaged(path, f"{type(error).__name__}: {error}".splitlines()[0][:120]) from error
    return _placed(path, memory, segments, symbols, entry)


def _check_header(path: Path, data: bytes, isa: Isa) -> None:
    """Magic, class, byte order, type, machine and table sizes, before any parser walks the file."""
    wide = isa.bits == 64
    if data[:4] != b"\x7fELF":
        raise BadInput(path, expected="a firmware ELF file", found=f"the first bytes {data[:4]!r}")
    if len(data) < (64 if wide else 52):
        raise _damaged(path, f"only {len(data)} bytes")
    if data[4] != (2 if wide else 1) or data[5] != 1:
        bits, order = {1: "32", 2: "64"}.get(data[4], "?"), {1: "little", 2: "big"}.get(data[5], "?")
        raise BadInput(path, expected=f"a {isa.bits}-bit little-endian ELF file", found=f"{bits}-bit {order}-endian")
    kind, machine = struct.unpack_from("<HH", data, 16)
    if machine != isa.elf_machine:
        other = next((known.name for known in ISAS.values() if known.elf_machine == machine), "unknown")
        raise BadInput(
            path, expected=f"code for {isa.name} (ELF machine {isa.elf_machine})", found=f"machine {machine} ({other})"
        )
    if kind != 2:
        raise BadInput(path, expected="a linked executable (ELF type 2)", found=f"type {kind}")
    phoff, shoff = struct.unpack_from("<QQ" if wide else "<II", data, 32 if wide else 28)
    _, phentsize, phnum, shentsize, shnum, _ = struct.unpack_from("<HHHHHH", data, 52 if wide else 40)
    sizes = (56, 64) if wide else (32, 40)  # Elf64_Phdr, Elf64_Shdr; Elf32_Phdr, Elf32_Shdr
    tables = (
        (phoff, phentsize, phnum, sizes[0], MAX_SEGMENTS, "program"),
        (shoff, shentsize, shnum, sizes[1], MAX_SECTIONS, "section"),
    )
    for offset, entry_bytes, number, right, most, what in tables:
        if number == 0 or number > most or entry_bytes != right or offset + number * entry_bytes > len(data):
            raise _damaged(path, f"{number} {what} headers of {entry_bytes} bytes at {offset:#x} in {len(data):,} bytes")


def _parse(path: Path, data: bytes) -> tuple[list[Segment], dict[str, Symbol], int]:
    import io

    elffile: Any = require("elftools.elf.elffile", "emulate")
    elf = elffile.ELFFile(io.BytesIO(data))
    segments = []
    for segment in elf.iter_segments("PT_LOAD"):
        header = segment.header
        if header.p_memsz == 0:
            continue
        stop = header.p_offset + header.p_filesz
        if stop > len(data) or header.p_filesz > header.p_memsz:
            raise _damaged(path, f"a segment that ends at byte {stop:,} of {len(data):,}")
        segments.append(Segment(header.p_vaddr, header.p_paddr, data[header.p_offset : stop], header.p_memsz))
    symbols: dict[str, Symbol] = {}
    table = elf.get_section_by_name(".symtab")
    if table is not None and not hasattr(table, "num_symbols"):
        raise _damaged(path, "a .symtab that is no symbol table")
    count = table.num_symbols() if table is not None else 0
    if count > MAX_SYMBOLS or count * 16 > len(data):
        raise _damaged(path, f"{count} symbols")
    for index in range(count):
        symbol = table.get_symbol(index)
        if symbol.name and not symbol.name.startswith("$") and symbol["st_shndx"] != "SHN_UNDEF":
            code = symbol["st_info"]["type"] == "STT_FUNC"  # Thumb functions have bit 0 set
            address = symbol["st_value"] & ~1 if code else symbol["st_value"]
            symbols[symbol.name] = Symbol(symbol.name, address, symbol["st_size"])
    return segments, symbols, elf.header["e_entry"]


def _placed(path: Path, memory: Memory, segments: list[Segment], symbols: dict[str, Symbol], entry: int) -> Image:
    """Check that every segment lies in flash or RAM; count what it takes there."""
    flash_bytes_max, ram_bytes_max = memory.flash_bytes or 0, memory.ram_bytes or 0
    flash = (memory.flash_origin, memory.flash_origin + flash_bytes_max)
    ram = (memory.ram_origin, memory.ram_origin + ram_bytes_max)
    static: list[tuple[int, int]] = []
    for segment in segments:
        stop = segment.address + segment.memory_bytes
        in_ram, in_flash = ram[0] <= segment.address < ram[1], flash[0] <= segment.address < flash[1]
        if not (in_ram or in_flash):
            raise BadInput(
                path,
                expected=f"segments in flash ({flash[0]:#x}) or RAM ({ram[0]:#x})",
                found=f"one at {segment.address:#x}",
                repair="Link it with the memory map of this target",
            )
        kind, limit, end = ("RAM", ram_bytes_max, ram[1]) if in_ram else ("flash", flash_bytes_max, flash[1])
        if stop > end:
            raise BadInput(path, expected=f"at most {limit:,} bytes of {kind}", found=f"{stop - end:,} bytes more than that")
        if segment.data and not (flash[0] <= segment.load and segment.load + len(segment.data) <= flash[1]):
            raise BadInput(
                path,
                expected=f"initial values stored inside {flash_bytes_max:,} bytes of flash",
                found=f"{len(segment.data):,} bytes to load at {segment.load:#x}",
                repair="In the linker script, put .data in RAM with AT> FLASH",
            )
        if in_ram:
            static.append((segment.address, stop))
    if not any(s.data for s in segments):
        raise BadInput(path, expected="a program to store in flash", found="no loadable bytes")
    return Image(
        path=path,
        entry=entry,
        segments=tuple(segments),
        symbols=symbols,
        flash_bytes=sum(len(s.data) for s in segments),
        ram_static_bytes=sum(stop - start for start, stop in static),
        static_ranges=tuple(sorted(static)),
    )


def _damaged(path: Path, found: str) -> BadInput:
    return BadInput(path, expected="a whole ELF file", found=found, repair="The file is truncated or damaged: build it again")


def _broken_elf_errors() -> tuple[type[Exception], ...]:
    """What pyelftools lets through when the bytes are garbage (found by fuzzing it)."""
    exceptions: Any = require("elftools.common.exceptions", "emulate")
    construct: Any = require("elftools.construct", "emulate")
    return (exceptions.ELFError, construct.ConstructError, ValueError, TypeError, LookupError, AttributeError, OverflowError)
