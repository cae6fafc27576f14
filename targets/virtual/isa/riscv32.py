"""RV32: 32-bit RISC-V, with 16-bit compressed instructions where the core has them.

The firmware itself sets mstatus.FS (bits 13 and 14) before the first floating-point instruction, as on a real core: the
emulator raises an exception without it.
"""

from __future__ import annotations

from ....errors import require
from ..decode import Instruction
from .isa import Isa
from .plain_decoder import PlainDecoder


def decoder() -> PlainDecoder:
    """Decodes RV32 with the C, A, F and D extensions."""
    capstone = require("capstone", "emulate")
    return PlainDecoder(capstone.CS_ARCH_RISCV, capstone.CS_MODE_RISCV32 | capstone.CS_MODE_RISCVC)


def is_atomic(instruction: Instruction) -> bool:
    """Of the A extension?"""
    return instruction.name.startswith(("amo", "lr.", "sc."))


def is_double(instruction: Instruction) -> bool:
    """Of the D extension?"""
    name = instruction.name.removeprefix("c.")
    return name.startswith("f") and (".d" in name or name in ("fld", "fsd", "fldsp", "fsdsp"))


ISA = Isa(
    name="riscv32",
    arch="UC_ARCH_RISCV",
    mode="UC_MODE_RISCV32",
    constants="unicorn.riscv_const",
    stack_register="UC_RISCV_REG_SP",
    link_register="UC_RISCV_REG_RA",
    program_counter="UC_RISCV_REG_PC",
    bits=32,
    elf_machine=243,  # EM_RISCV (RISC-V ELF psABI)
    page=4096,
    stack_alignment=16,
    decoder=decoder,
    triples=("riscv32-freestanding",),
    exceptions="ECALL, EBREAK, an instruction that it lacks, or floating point before mstatus.FS was set",
)
