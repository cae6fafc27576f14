"""What a run of the host benchmark found, and the figures that are read off it."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import Any

import numpy as np

ORT = "ONNX Runtime"
OURS = {"Python": "Pilotfish C, from Python", "C": "Pilotfish C, from C"}
"""Who calls -> our line that a contestant of that caller is held against."""


@dataclass
class Line:
    """One contestant on one policy."""

    subject: str
    label: str
    peer: str
    caller: str
    """ "Python" or "C"."""
    contains: str
    deviation: float
    """From the float64 reference, largest entry."""
    right: bool
    """False: it was not timed."""
    medians_ns: list[float] = field(default_factory=list)
    """Median of each round's block, as measured, clock included."""
    p99_ns: list[float] = field(default_factory=list)
    """99th percentile of each round's block."""
    calls: int = 0
    """Timed in all."""
    failed: str = ""
    """What it said when it could not go on."""

    @property
    def timed(self) -> bool:
        return bool(self.medians_ns)


@dataclass
class Results:
    """One run."""

    device: dict[str, Any]
    settings: dict[str, Any]
    titles: dict[str, str]
    """Subject -> what it is."""
    versions: dict[str, dict[str, str]]
    """Peer -> package -> version."""
    absent: dict[str, str]
    """Peer -> what it lacks, or peer on subject -> why it does not take it."""
    clock_ns: dict[str, float]
    """Caller -> what its clock shows around nothing; contained in every figure of that caller."""
    lines: list[Line]

    def line(self, subject: str, label: str) -> Line | None:
        """The line of one contestant, if it was timed."""
        found = (line for line in self.lines if (line.subject, line.label) == (subject, label) and line.timed)
        return next(found, None)

    def median_ns(self, line: Line) -> float:
        """Median over rounds of block medians, as measured."""
        return statistics.median(line.medians_ns)

    def net_ns(self, line: Line) -> float:
        """The same less the clock, at least 1 ns."""
        return max(1.0, self.median_ns(line) - self.clock_ns.get(line.caller, 0.0))

    def quartiles_ns(self, line: Line) -> tuple[float, float]:
        """Of the block medians over rounds."""
        low, high = np.percentile(line.medians_ns, [25, 75])
        return float(low), float(high)

    def ratios(self, line: Line, base: Line, net: bool) -> list[float]:
        """line / base of the same rounds; ``net``: each less its own clock."""
        own = self.clock_ns.get(line.caller, 0.0) if net else 0.0
        other = self.clock_ns.get(base.caller, 0.0) if net else 0.0
        pairs = zip(line.medians_ns, base.medians_ns, strict=False)
        return [max(1.0, a - own) / max(1.0, b - other) for a, b in pairs]

    def ratio(self, line: Line, base_label: str, *, net: bool = True) -> float | None:
        """Median over rounds of line / base; None where the base was not timed on this policy."""
        base = self.line(line.subject, base_label)
        return statistics.median(self.ratios(line, base, net)) if base else None

    def spread(self, line: Line, base_label: str, *, net: bool = True) -> tuple[float, float] | None:
        """Quartiles over rounds of line / base."""
        base = self.line(line.subject, base_label)
        if base is None:
            return None
        low, high = np.percentile(self.ratios(line, base, net), [25, 75])
        return float(low), float(high)

    def to_json(self) -> dict[str, Any]:
        """Everything, rounds included."""
        entries = []
        for line in self.lines:
            entry: dict[str, Any] = dict(vars(line))
            entry["deviation"] = line.deviation if np.isfinite(line.deviation) else None
            if line.timed:
                entry |= {
                    "median_ns": self.median_ns(line),
                    "net_ns": self.net_ns(line),
                    "quartiles_ns": self.quartiles_ns(line),
                    "net_ratio_to_onnxruntime": self.ratio(line, ORT),
                    "net_ratio_to_onnxruntime_quartiles": self.spread(line, ORT),
                    "net_ratio_to_pilotfish": self.ratio(line, OURS[line.caller]),
                }
            entries.append(entry)
        return {**{key: value for key, value in vars(self).items() if key != "lines"}, "lines": entries}
