"""Cortex-M0+: cycles of each instruction at zero wait states.

[T] Arm DDI 0484C (Cortex-M0+ Technical Reference Manual r0p1), table 3-1; its rows for BL, MRS and multiple
loads could not be read and are from memory. The table has no ranges but for the
multiplier, which every microcontroller that we know builds as the single-cycle one.
"""

from __future__ import annotations

from .decode import LOADS, STORES, Instruction

# [T] B, BX and BLX 2, conditional B 1 or 2, MOV and ADD to PC 2: a taken branch costs one more.
REFILL = (1, 1, 1)
FIXED = {
    "bl": 2,  # [T] 3 with the refill: the two halves of a 32-bit encoding
    "mrs": 3,  # [T]
    "msr": 3,
    "dmb": 3,
    "dsb": 3,
    "isb": 3,
}
MULTIPLE = frozenset({"push", "pop", "ldm", "stm"})


def cost(instruction: Instruction, before: Instruction | None) -> tuple[int, int, int]:
    """Cycles of ``instruction``, without the refill of a taken branch; ``before`` never matters here."""
    del before
    name = instruction.name
    if name in LOADS or name in STORES:
        cycles = 2  # [T] "2 or 1", 1 only on the single-cycle I/O port
    elif name in MULTIPLE:
        cycles = 1 + instruction.count  # [T] 1 + N
        if instruction.branches:
            cycles += 1  # [T] POP with PC 3 + N, of which the refill is one
    else:
        cycles = FIXED.get(name, 1)
    return cycles, cycles, cycles
