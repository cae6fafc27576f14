"""The processor cores that a virtual board can stand for: one entry each."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from ...errors import Unsupported
from ..profile import near
from .decode import Instruction
from .isa import ISAS, Isa
from .isa.riscv32 import is_atomic, is_double

_DSP = re.compile(r"smla[lw]?d.*|smls[dl].*|smu[as]d.*|smulw.|smlaw.|usada?8|[su]sat16|[su]xta[bh]")


def is_dsp(instruction: Instruction) -> bool:
    """Of the DSP extension, which Armv7-M lacks? Only what the emulator's Cortex-M3 lets through (30 tried, one by one)."""
    return _DSP.fullmatch(instruction.name) is not None


@dataclass(frozen=True)
class Core:
    """One core: which emulator model executes it, and which compiler CPU names it."""

    name: str
    unicorn_model: str
    """Name of a constant in the unicorn module of its instruction set."""
    mcpu: tuple[str, ...]
    """Values of -mcpu (up to the first +) whose code it runs."""
    fpu: bool
    """Has the core floating-point registers?"""
    isa_name: str = "thumb"
    """Its instruction set; see :mod:`pilotfish.targets.virtual.isa`."""
    lacks: tuple[str, Callable[[Instruction], bool]] | None = None
    """What the core lacks and the emulator's model nevertheless executes: (its name, is an instruction of it?). Found and
    refused when code is profiled."""

    @property
    def isa(self) -> Isa:
        """Its instruction set."""
        return ISAS[self.isa_name]


# Each model of the emulator rejects what its core lacks, but for what is named in ``lacks`` (each claim is tested).
CORES: dict[str, Core] = {
    core.name: core
    for core in (
        Core("cortex-m0", "UC_CPU_ARM_CORTEX_M0", ("cortex_m0",), fpu=False),
        # ARMv6-M like the M0: the same instructions, another pipeline, so another cost table.
        Core("cortex-m0plus", "UC_CPU_ARM_CORTEX_M0", ("cortex_m0plus", "cortex_m0"), fpu=False),
        Core(
            "cortex-m3",
            "UC_CPU_ARM_CORTEX_M3",
            ("cortex_m3",),
            fpu=False,
            lacks=("the DSP extension, which a Cortex-M4 has", is_dsp),
        ),
        Core("cortex-m4", "UC_CPU_ARM_CORTEX_M4", ("cortex_m4",), fpu=True),
        Core("cortex-m7", "UC_CPU_ARM_CORTEX_M7", ("cortex_m7", "cortex_m4"), fpu=True),
        Core("cortex-m33", "UC_CPU_ARM_CORTEX_M33", ("cortex_m33",), fpu=True),
        # The nearest models: an E31 is RV32IMAC, a U34 is RV32IMAFDC.
        Core("rv32imc", "UC_CPU_RISCV32_SIFIVE_E31", ("generic_rv32",), False, "riscv32", ("atomic instructions", is_atomic)),
        Core("rv32imafc", "UC_CPU_RISCV32_SIFIVE_U34", ("generic_rv32",), True, "riscv32", ("double precision", is_double)),
        Core("cortex-a53", "UC_CPU_ARM64_A53", ("cortex_a53",), True, "aarch64"),
        Core("cortex-a72", "UC_CPU_ARM64_A72", ("cortex_a72", "cortex_a53"), True, "aarch64"),
        # The emulator has no A76: its MAX model runs Armv8.2 code, and whatever newer code there were.
        Core("cortex-a76", "UC_CPU_ARM64_MAX", ("cortex_a76", "cortex_a72", "cortex_a53"), True, "aarch64"),
    )
}


def find_core(name: str) -> Core:
    """The core called ``name``, or Unsupported with the known ones."""
    if name not in CORES:
        raise Unsupported(
            "cpu.core",
            expected="a core that the virtual board knows",
            found=repr(name),
            repair=near(name, sorted(CORES)),
        )
    return CORES[name]
