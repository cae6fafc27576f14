"""What differs between instruction sets, as data: the emulator's names, the ELF header, where calls return to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from ..decode import Instruction


class BlockDecoder(Protocol):
    """Decodes code that the emulator has executed."""

    def block(self, code: bytes, address: int) -> tuple[Instruction, ...]:
        """All instructions of ``code``; Unreachable where a byte of it cannot be decoded."""


@dataclass(frozen=True)
class Isa:
    """One instruction set."""

    name: str
    """As in a core's entry: "thumb", "riscv32", "aarch64"."""
    arch: str
    """Constant of unicorn that names the architecture."""
    mode: str
    """Constant of unicorn that names the mode."""
    constants: str
    """Module of unicorn that holds the registers and models."""
    stack_register: str
    """Constant of the stack pointer."""
    link_register: str
    """Constant of the register that holds where a call returns to."""
    program_counter: str
    """Constant of the program counter."""
    bits: int
    """ELF class: 32 or 64."""
    elf_machine: int
    """ELF machine number."""
    page: int
    """Granularity of the emulator's memory map, in bytes."""
    stack_alignment: int
    """What the calling convention asks of the stack pointer, in bytes."""
    decoder: Callable[[], BlockDecoder]
    """Makes the decoder; needs capstone."""
    triples: tuple[str, ...]
    """What a compiler's target triple may begin with."""
    exceptions: str
    """What raises an exception, for an error message."""
    vector_table: bool = False
    """True: the first two words of flash are stack pointer and entry. False: the ELF entry sets the stack pointer itself."""
    code_bit: int = 0
    """Set in the address of code that is called (Thumb); 0: none."""
    devices: tuple[int, ...] = ()
    """Pages of registers that the start code writes to; plain memory on the virtual board."""
