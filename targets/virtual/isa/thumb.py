"""Thumb: the instruction set of Cortex-M.

UC_MODE_MCLASS is not used: it silently forces the Cortex-M33 for every core (unicorn qemu/target/arm/cpu.c, cpu_arm_init).
The FPU needs no switch in the emulator; the firmware writes CPACR all the same, as a real core needs it.
"""

from __future__ import annotations

from ..decode import Decoder
from .isa import Isa

SYSTEM_CONTROL_SPACE = 0xE000E000
"""Firmware enables the FPU there (CPACR)."""

ISA = Isa(
    name="thumb",
    arch="UC_ARCH_ARM",
    mode="UC_MODE_THUMB",
    constants="unicorn.arm_const",
    stack_register="UC_ARM_REG_SP",
    link_register="UC_ARM_REG_LR",
    program_counter="UC_ARM_REG_PC",
    bits=32,
    elf_machine=40,  # EM_ARM (ELF for the Arm Architecture, table 4-3)
    page=1024,
    stack_alignment=8,
    decoder=Decoder,
    triples=("thumb-freestanding-eabi",),
    exceptions="SVC, BKPT, or an unaligned or coprocessor access",
    vector_table=True,
    code_bit=1,
    devices=(SYSTEM_CONTROL_SPACE,),
)
