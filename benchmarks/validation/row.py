"""One published measurement beside our estimate of it, and how a table of them reads."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from pilotfish.targets.virtual.cycles import Cycles


@dataclass(frozen=True)
class Estimate:
    """What the virtual board says of one inference."""

    instructions: int
    """Executed."""
    cycles: Cycles
    """Without memory stalls."""
    stall_cycles: int
    """Memory and fetch."""
    note: str = ""
    """What was found on the way."""


@dataclass(frozen=True)
class Row:
    """One comparison."""

    board: str
    """As its maker calls it."""
    core: str
    """Core and clock."""
    program: str
    """What ran."""
    same_binary: bool
    """True: the image that hardware ran. False: the same sources, built here by another compiler."""
    published_cycles: float
    """Of one inference: the published time, or 1 / rate, by the clock."""
    source: str
    """Where it was published."""
    estimate: Estimate

    @property
    def ratio(self) -> float:
        """Typical estimate, stalls included, by what hardware took."""
        return (self.estimate.cycles.typical + self.estimate.stall_cycles) / self.published_cycles


def markdown(rows: Sequence[Row]) -> str:
    """A table in Markdown."""
    head = (
        "| board | core | program | same binary | hardware | instructions | low | typical | high | stalls | estimate / hardware |"
    )
    lines = [head, "|---|---|---|---|--:|--:|--:|--:|--:|--:|--:|"]
    for row in rows:
        e = row.estimate
        numbers = (row.published_cycles, e.instructions, *e.cycles, e.stall_cycles)
        cells = [row.board, row.core, row.program, "yes" if row.same_binary else "no", *(f"{round(n):,}" for n in numbers)]
        lines.append("| " + " | ".join([*cells, f"**{row.ratio:.2f}**"]) + " |")
    return "\n".join(lines) + "\n"


def summary(rows: Sequence[Row]) -> str:
    """Per core and kind, the range of the ratios."""
    lines = []
    for same in (True, False):
        for core in dict.fromkeys(row.core.split(",")[0] for row in rows):
            ratios = [row.ratio for row in rows if row.core.split(",")[0] == core and row.same_binary == same]
            if ratios:
                what = "same binary" if same else "same sources, another compiler"
                lines.append(f"{core}, {what}: {min(ratios):.2f} to {max(ratios):.2f} of hardware in {len(ratios)} rows")
    return "\n".join(lines) + "\n"
