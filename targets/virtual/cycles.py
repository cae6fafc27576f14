"""Cycle cost of decoded code: a band (low, typical, high), as vendors publish ranges and not numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from ...errors import Unsupported
from ..profile import near
from . import cortex_m0plus, cortex_m4
from .decode import Instruction


class Cycles(NamedTuple):
    """Cycles at zero wait states."""

    low: int
    typical: int
    high: int

    def plus(self, other: Cycles) -> Cycles:
        return Cycles(self.low + other.low, self.typical + other.typical, self.high + other.high)

    def times(self, count: int) -> Cycles:
        return Cycles(self.low * count, self.typical * count, self.high * count)


@dataclass(frozen=True)
class CostTable:
    """What one core charges."""

    name: str
    instruction: Callable[[Instruction, Instruction | None], tuple[int, int, int]]
    """Cycles of an instruction after the one before it (None: unknown), if it does not branch."""
    refill: tuple[int, int, int]
    """What a taken branch adds."""
    note: str = ""
    """What a reader of its figures must know."""


TABLES: dict[str, CostTable] = {
    "cortex-m0plus": CostTable("cortex-m0plus", cortex_m0plus.cost, cortex_m0plus.REFILL),
    "cortex-m4": CostTable("cortex-m4", cortex_m4.cost, cortex_m4.REFILL),
    # Arm publishes no table for the M33. The M4's was 4 % low on a NUCLEO-U575ZI once its flash wait states
    # were added (MLPerf Tiny v1.1 anomaly detection, same binary), so it is the best there is.
    "cortex-m33": CostTable(
        "cortex-m33", cortex_m4.cost, cortex_m4.REFILL, note="Arm publishes no Cortex-M33 table: the Cortex-M4's is used"
    ),
}


def find_table(name: str) -> CostTable:
    """The cost table called ``name``, or Unsupported with the known ones."""
    if name not in TABLES:
        raise Unsupported("cost.table", expected="a known cycle table", found=repr(name), repair=near(name, sorted(TABLES)))
    return TABLES[name]


def block_cost(table: CostTable, block: tuple[Instruction, ...], before: Instruction | None, taken: bool) -> Cycles:
    """Cycles of one execution of a straight ``block``.

    ``before`` is the last instruction that ran before it; ``taken``: its last instruction branched away.
    """
    low = typical = high = 0
    for instruction in block:
        a, b, c = table.instruction(instruction, before)
        low, typical, high = low + a, typical + b, high + c
        before = instruction
    if taken:
        low, typical, high = low + table.refill[0], typical + table.refill[1], high + table.refill[2]
    return Cycles(low, typical, high)
