"""One published measurement beside our estimate of it, and how a table of them reads."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pilotfish.targets.virtual.cycles import Cycles


@dataclass(frozen=True)
class Estimate:
    """What the virtual board says of one inference."""

    instructions: int
    """Executed."""
    model: Cycles
    """Without memory stalls, as the cost model alone says."""
    cycles: Cycles
    """Without memory stalls, as the virtual board reports them: the model's band, widened by what this page measured."""
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
    compiler: str
    """Of the estimate."""
    same_binary: bool
    """True: the image that hardware ran. False: the same sources, built here by another compiler."""
    fitted: str
    """What of our model was taken from this very figure; empty: the figure was held out."""
    published: str
    """The figure as it was published."""
    published_cycles: float
    """Of one inference: the published time, or 1 / rate, by the clock."""
    source: str
    """Where it was published."""
    estimate: Estimate

    @property
    def ratio(self) -> float:
        """Typical estimate, stalls included, by what hardware took."""
        return (self.estimate.cycles.typical + self.estimate.stall_cycles) / self.published_cycles

    @property
    def inside(self) -> bool:
        """Is hardware within the band that the virtual board reports?"""
        return self._within(self.estimate.cycles)

    @property
    def inside_model(self) -> bool:
        """Is hardware within the band of the cost model alone?"""
        return self._within(self.estimate.model)

    def _within(self, band: Cycles) -> bool:
        stalls = self.estimate.stall_cycles
        # A count of cycles is whole; the published figure has three to six digits.
        return band.low + stalls <= round(self.published_cycles) <= band.high + stalls


def commit_of(root: Path) -> str:
    """The first twelve digits of the commit that ``root`` is a checkout of; "unknown" where git does not say."""
    found = subprocess.run(["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    return found.stdout.strip()[:12] or "unknown"


def markdown(rows: Sequence[Row]) -> str:
    """A table in Markdown, and below it the source of each row."""
    head = (
        "| | board | core | program | compiler | binary | figure | published | hardware cycles | instructions | low | typical "
        "| high | of which stalls | typical / hardware | in band |"
    )
    lines = [head, "|--:|---|---|---|---|---|---|--:|--:|--:|--:|--:|--:|--:|--:|---|"]
    for place, row in enumerate(rows, 1):
        e = row.estimate
        numbers = (row.published_cycles, e.instructions, *(band + e.stall_cycles for band in e.cycles), e.stall_cycles)
        cells = [str(place), row.board, row.core, row.program, row.compiler, "same" if row.same_binary else "rebuilt"]
        cells += ["fitted" if row.fitted else "held out", row.published, *(f"{round(n):,}" for n in numbers)]
        lines.append("| " + " | ".join([*cells, f"**{row.ratio:.3f}**", "yes" if row.inside else "**no**"]) + " |")
    sources: dict[str, list[str]] = {}
    for place, row in enumerate(rows, 1):
        sources.setdefault(row.source, []).append(str(place))
    lines += ["", "Sources:", ""]
    lines += [f"- {', '.join(places)}: {source}" for source, places in sources.items()]
    fitted: dict[str, list[str]] = {}
    for place, row in enumerate(rows, 1):
        if row.fitted:
            fitted.setdefault(row.fitted, []).append(str(place))
    lines += [f"- fitted, {', '.join(places)}: {what}" for what, places in fitted.items()]
    return "\n".join(lines) + "\n"


def summary(rows: Sequence[Row]) -> str:
    """Per core and kind, the range of the ratios and how many lie within the bands."""
    lines = []
    for same in (True, False):
        for core in dict.fromkeys(row.core.split(",")[0] for row in rows):
            chosen = [row for row in rows if row.core.split(",")[0] == core and row.same_binary == same]
            if chosen:
                what = "same binary" if same else "same sources, rebuilt"
                ratios = [row.ratio for row in chosen]
                inside, model = (sum(getattr(row, name) for row in chosen) for name in ("inside", "inside_model"))
                lines.append(
                    f"- {core}, {what}: {min(ratios):.3f} to {max(ratios):.3f} of hardware in {len(ratios)} rows; hardware is in "
                    f"the reported band of {inside} of them, in the cost model's own of {model}"
                )
    return "\n".join(lines) + "\n"
