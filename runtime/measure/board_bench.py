"""What a decision costs on a virtual board: exact instructions, a band of cycles, flash and RAM."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...figure import Figure, Source
from ...targets.virtual.board import VirtualBoard
from ..artifact import Artifact
from ..results import device_of

BOARD_OBSERVATIONS = 16
"""Golden observations that are profiled: instruction counts hardly depend on them (0 to 1.3 % over 64, measured)."""
BAND = "lowest to highest of the cost model over the observations"


def board_bench(
    artifact: Artifact, board: VirtualBoard, observations: np.ndarray, deadline_us: float
) -> tuple[dict[str, Figure], dict[str, Any]]:
    """Figures and verdict of ``observations`` float32 [N, n] on the board.

    Instructions are "emulated" (the real binary ran); cycles, stalls and latency are "estimated" from them.
    The verdict judges the high end of the band (export judges the typical): ``deadline_met`` (None without cycles or clock) and
    ``fits`` {"flash": bool | None, "ram": bool | None}, None where the target states no limit.
    """
    profile, device, n = board.profile(observations), device_of(artifact), len(observations)
    memory = artifact.manifest.target.memory
    stalls = profile.memory_stall_cycles

    def figure(
        typical: np.ndarray, low: np.ndarray, high: np.ndarray, unit: str, source: Source, spread: str, note: str
    ) -> Figure:
        middle = float(np.median(typical))
        return Figure(
            middle, unit, source, samples=n, low=float(low.min()), high=float(high.max()), spread=spread, device=device, note=note
        )

    count = profile.instructions
    figures = {
        "instructions": figure(count, count, count, "instructions", "emulated", "min-max over the observations", "exact counts"),
    }
    if profile.cycles_low is not None and profile.cycles_typical is not None and profile.cycles_high is not None:
        extra = stalls if stalls is not None else np.zeros(n, np.int64)
        if profile.stalls_in_cycles:
            included = ""
        else:
            included = "memory stalls included" if stalls is not None else "no model of memory stalls for this board"
        figures["cycles"] = figure(
            profile.cycles_typical + extra,
            profile.cycles_low + extra,
            profile.cycles_high + extra,
            "cycles",
            "estimated",
            BAND,
            "; ".join(filter(None, (included, profile.note))),
        )
    if stalls is not None:
        figures["memory_stall_cycles"] = figure(
            stalls,
            stalls,
            stalls,
            "cycles",
            "estimated",
            "min-max over the observations",
            "flash wait states that caches did not hide",
        )
    latency = profile.latency_us()
    deadline_met: bool | None = None
    if latency is not None:
        low, typical, high = latency
        clock = "; ".join(filter(None, (f"cycles at {(profile.clock_hz or 0) / 1e6:g} MHz", profile.note)))
        figures["latency_us"] = figure(typical, low, high, "us", "estimated", BAND, clock)
        deadline_met = bool(high.max() <= deadline_us)
    ram = board.ram_static_bytes + profile.stack_bytes
    figures["flash_bytes"] = _size(board.flash_bytes, memory.flash_bytes, "measured", "what the linked binary loads", device)
    figures["ram_bytes"] = _size(
        ram, memory.ram_bytes, "emulated", f"{board.ram_static_bytes:,} static and {profile.stack_bytes:,} of stack", device, n
    )
    figures["stack_bytes"] = Figure(
        float(profile.stack_bytes), "bytes", "emulated", samples=n, device=device, note="deepest over the observations"
    )
    fits = {"flash": _fits(board.flash_bytes, memory.flash_bytes), "ram": _fits(ram, memory.ram_bytes)}
    return figures, {"deadline_met": deadline_met, "fits": fits}


def _size(used: int, limit: int | None, source: Source, note: str, device: str, samples: int = 1) -> Figure:
    share = f"; {used / limit:.1%} of {limit:,}" if limit else ""
    return Figure(float(used), "bytes", source, samples=samples, device=device, note=note + share)


def _fits(used: int, limit: int | None) -> bool | None:
    return None if limit is None else used <= limit
