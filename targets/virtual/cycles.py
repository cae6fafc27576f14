"""Cycle cost of decoded code: a band (low, typical, high), as vendors publish ranges and not numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from ...errors import Unsupported
from ..profile import near
from . import cortex_m0plus, cortex_m3, cortex_m4, cortex_m7, cortex_m33
from .decode import Instruction
from .pipeline import Pipeline


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
    pipeline: Pipeline | None = None
    """Rules for whole blocks, where instructions share cycles; ``instruction`` is then only a rough figure."""
    fetch_stalls: Callable[[tuple[Instruction, ...], bool], int] | None = None
    """Cycles that a block loses to the alignment of its code; the second argument: it was entered by a branch."""
    measured: tuple[float, float] = (1.0, 1.0)
    """(least, most) that hardware took, by our typical figure with stalls, over the programs whose very binary ran on both:
    docs/validation.md, rounded outward to a hundredth."""

    def widened(self, cycles: Cycles, stalls: int) -> Cycles:
        """``cycles``, so wide that with ``stalls`` they hold what hardware was seen to take beside such a typical figure."""
        total = cycles.typical + stalls
        low = min(cycles.low, math.floor(total * self.measured[0]) - stalls)
        high = max(cycles.high, math.ceil(total * self.measured[1]) - stalls)
        return Cycles(max(low, 1), cycles.typical, high)


def _piped(name: str, pipeline: Pipeline, note: str, measured: tuple[float, float]) -> CostTable:
    def instruction(this: Instruction, before: Instruction | None) -> tuple[int, int, int]:
        del before
        cycles = pipeline.timing(this).cycles
        return cycles, cycles, cycles

    return CostTable(name, instruction, pipeline.refill, f"{note}; {_seen(measured)}", pipeline, measured=measured)


def _seen(measured: tuple[float, float]) -> str:
    least, most = measured
    return f"hardware took {least:g} to {most:g} times the typical figure of the same binary (docs/validation.md)"


# (least, most) over the networks whose images ran on hardware and here: docs/validation.md, its table's column before the last.
M0PLUS_MEASURED = (1.0, 1.05)
M4_MEASURED = (0.98, 1.07)
M7_MEASURED = (0.98, 1.14)
M33_MEASURED = (1.0, 1.09)
NO_TABLE = "Arm publishes no Cortex-{} table: "
TABLES: dict[str, CostTable] = {
    table.name: table
    for table in (
        CostTable(
            "cortex-m0plus", cortex_m0plus.cost, cortex_m0plus.REFILL, note=_seen(M0PLUS_MEASURED), measured=M0PLUS_MEASURED
        ),
        CostTable(
            "cortex-m3",
            cortex_m3.cost,
            cortex_m3.REFILL,
            note="never compared with hardware: the margins are the Cortex-M4's (docs/validation.md)",
            fetch_stalls=cortex_m4.fetch_stalls,
            measured=M4_MEASURED,
        ),
        CostTable(
            "cortex-m4",
            cortex_m4.cost,
            cortex_m4.REFILL,
            note=_seen(M4_MEASURED),
            fetch_stalls=cortex_m4.fetch_stalls,
            measured=M4_MEASURED,
        ),
        _piped("cortex-m7", cortex_m7.PIPELINE, NO_TABLE.format("M7") + "pairing and latencies as others measured", M7_MEASURED),
        _piped("cortex-m33", cortex_m33.PIPELINE, NO_TABLE.format("M33") + "cycles as others measured them", M33_MEASURED),
    )
}


def find_table(name: str) -> CostTable:
    """The cost table called ``name``, or Unsupported with the known ones."""
    if name not in TABLES:
        raise Unsupported("cost.table", expected="a known cycle table", found=repr(name), repair=near(name, sorted(TABLES)))
    return TABLES[name]


def block_cost(table: CostTable, block: tuple[Instruction, ...], before: tuple[Instruction, ...], taken: bool) -> Cycles:
    """Cycles of one execution of a straight ``block``.

    ``before`` is the block that ran before it (empty: unknown); ``taken``: its last instruction branched away.
    """
    if table.pipeline is not None:
        return Cycles(*table.pipeline.cost(before, block, taken))
    low = typical = high = 0
    last = before[-1] if before else None
    for instruction in block:
        a, b, c = table.instruction(instruction, last)
        low, typical, high = low + a, typical + b, high + c
        last = instruction
    if taken:
        low, typical, high = low + table.refill[0], typical + table.refill[1], high + table.refill[2]
    return Cycles(low, typical, high)
