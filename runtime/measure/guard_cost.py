"""What a guard costs: the same decisions with and without it, on a host and on a virtual board."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...figure import Figure
from .board_bench import BAND
from .percentiles import percentile_figures

if TYPE_CHECKING:
    from ...targets.virtual.board import VirtualBoard


INSIDE = "timed inside the library, one clock read included; every decision through the guard"
PYTHON = "timed around the Python call of act; every decision through the guard, which is in Python"


def guard_figures(alone_us: np.ndarray, guarded_us: np.ndarray, device: str, how: str = INSIDE) -> dict[str, Figure]:
    """guarded_p50_us and guard_us of latencies [n] without and [m] with the guard, both timed as ``how`` says."""
    guarded = percentile_figures("guarded", guarded_us, source="measured", device=device, note=how)["guarded_p50_us"]
    extra = float(np.median(guarded_us) - np.median(alone_us))
    note = "difference of two medians; below zero, the guard costs less than the noise of the machine" if extra < 0 else ""
    cost = Figure(extra, "us", "measured", samples=min(len(alone_us), len(guarded_us)), device=device, note=note)
    return {"guarded_p50_us": guarded, "guard_us": cost}


def board_guard_figures(board: VirtualBoard, observations: np.ndarray, device: str) -> dict[str, Figure]:
    """guard_cycles of ``observations`` float32 [N, n]: cycles where the board has a model of them, else instructions.

    And guarded_latency_us, of a whole decision through the guard, where the board has a clock, too.
    """
    alone, guarded = board.profile(observations), board.profile(observations, step="pilotfish_guard_step")
    if alone.cycles_typical is None or guarded.cycles_typical is None:
        extra, unit = guarded.instructions - alone.instructions, "instructions"
    else:
        extra, unit = guarded.cycles_typical - alone.cycles_typical, "cycles"
        if alone.memory_stall_cycles is not None and guarded.memory_stall_cycles is not None:
            extra = extra + guarded.memory_stall_cycles - alone.memory_stall_cycles
    figures = {
        f"guard_{unit}": Figure(
            float(np.median(extra)),
            unit,
            "estimated" if unit == "cycles" else "emulated",
            samples=len(extra),
            low=float(extra.min()),
            high=float(extra.max()),
            spread="min-max over the observations",
            device=device,
            note="of a decision through the guard, the decision itself taken off",
        )
    }
    if (latency := guarded.latency_us()) is not None:
        low, typical, high = latency
        figures["guarded_latency_us"] = Figure(
            float(np.median(typical)),
            "us",
            "estimated",
            samples=len(typical),
            low=float(low.min()),
            high=float(high.max()),
            spread=BAND,
            device=device,
            note="a decision through the guard, as it runs on the robot; the deadline is judged by this",
        )
    return figures
