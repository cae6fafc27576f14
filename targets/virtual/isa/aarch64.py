"""AArch64: the 64-bit instruction set of Cortex-A. Floating point and NEON work from the start."""

from __future__ import annotations

from ....errors import require
from .isa import Isa
from .plain_decoder import PlainDecoder


def decoder() -> PlainDecoder:
    """Decodes A64."""
    capstone = require("capstone", "emulate")
    return PlainDecoder(capstone.CS_ARCH_ARM64, capstone.CS_MODE_ARM)


ISA = Isa(
    name="aarch64",
    arch="UC_ARCH_ARM64",
    mode="UC_MODE_ARM",
    constants="unicorn.arm64_const",
    stack_register="UC_ARM64_REG_SP",
    link_register="UC_ARM64_REG_X30",
    program_counter="UC_ARM64_REG_PC",
    bits=64,
    elf_machine=183,  # EM_AARCH64 (ELF for the Arm 64-bit Architecture)
    page=4096,
    stack_alignment=16,
    decoder=decoder,
    triples=("aarch64-freestanding",),
    exceptions="SVC, BRK, or an access that the core refuses",
)
