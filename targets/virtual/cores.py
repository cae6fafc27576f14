"""The processor cores that a virtual board can stand for: one line each."""

from __future__ import annotations

from dataclasses import dataclass

from ...errors import Unsupported
from ..profile import near


@dataclass(frozen=True)
class Core:
    """One core: which emulator model executes it, and which compiler CPU names it."""

    name: str
    unicorn_model: str
    """Name of a constant in unicorn.arm_const."""
    mcpu: tuple[str, ...]
    """Values of -mcpu whose code it runs."""
    fpu: bool
    """Has the model floating-point registers?"""


# UC_MODE_MCLASS would silently force the Cortex-M33 for all of them (unicorn qemu/target/arm/cpu.c, cpu_arm_init):
# the board asks for a model by name instead, and then each model rejects what its core lacks.
CORES: dict[str, Core] = {
    core.name: core
    for core in (
        Core("cortex-m0", "UC_CPU_ARM_CORTEX_M0", ("cortex_m0",), fpu=False),
        # ARMv6-M like the M0: the same instructions, another pipeline, so another cost table.
        Core("cortex-m0plus", "UC_CPU_ARM_CORTEX_M0", ("cortex_m0plus", "cortex_m0"), fpu=False),
        Core("cortex-m3", "UC_CPU_ARM_CORTEX_M3", ("cortex_m3",), fpu=False),
        Core("cortex-m4", "UC_CPU_ARM_CORTEX_M4", ("cortex_m4",), fpu=True),
        Core("cortex-m7", "UC_CPU_ARM_CORTEX_M7", ("cortex_m7", "cortex_m4"), fpu=True),
        Core("cortex-m33", "UC_CPU_ARM_CORTEX_M33", ("cortex_m33",), fpu=True),
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
