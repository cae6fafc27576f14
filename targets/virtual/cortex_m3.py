"""Cortex-M3: cycles of each instruction at zero wait states.

[T] Arm DDI 0337, table 3.1 (as reprinted at os.mbed.com/media/uploads/4180_1/cortexm3_instructions.htm). Its rules for
pairing loads and stores, refills and everything not named here are the Cortex-M4's, whose manual repeats them.
"""

from __future__ import annotations

from . import cortex_m4
from .decode import Instruction

REFILL = cortex_m4.REFILL  # [T] P: 1 to 3
FIXED: dict[str, tuple[int, int, int]] = {
    "mla": (2, 2, 2),  # [T]
    "mls": (2, 2, 2),
    "smull": (3, 4, 5),  # [T] 3 to 5, by the values; typical: the middle
    "umull": (3, 4, 5),
    "smlal": (4, 5, 7),  # [T] 4 to 7
    "umlal": (4, 5, 7),
}


def cost(instruction: Instruction, before: Instruction | None) -> tuple[int, int, int]:
    """(low, typical, high) cycles of ``instruction`` after ``before``, without the refill of a taken branch."""
    if instruction.name in FIXED:
        low, typical, high = FIXED[instruction.name]
        return min(low, 1) if instruction.predicated else low, typical, high
    return cortex_m4.cost(instruction, before)
