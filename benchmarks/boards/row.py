"""One line of the table: a program on a board, checked against float64 first, then counted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pilotfish.errors import PilotfishError
from pilotfish.targets.profile import Target
from pilotfish.targets.virtual.board import VirtualBoard

FLOAT_TOLERANCE = 1e-5
"""Of the largest action: a few float32 roundings; a wrong weight or a cheaper tanh costs more."""
INT8_TOLERANCE = 0.15
"""Of the largest action: two right int8 programs place their grids differently, a wrong scale costs more than 1."""
COUNTED = 8
"""Observations that are counted; the table shows the most expensive."""


class WrongAnswer(PilotfishError):
    """A program that does not compute the policy is not worth counting."""


@dataclass(frozen=True)
class Row:
    """What one program costs on one board; the maximum over the observations."""

    board: str
    """Target profile."""
    variant: str
    """Which policy, such as "float32 tanh"."""
    maker: str
    """Whose program."""
    instructions: int
    """Executed, exact."""
    cycles_low: int
    """Cost model, zero wait states: low end."""
    cycles_typical: int
    """Typical; what ratios are made of."""
    cycles_high: int
    """High end."""
    stall_cycles: int
    """Flash wait states, to be added."""
    flash_bytes: int
    """All that is programmed: code, weights, start."""
    ram_bytes: int
    """Static."""
    stack_bytes: int
    """Deepest."""
    error: float
    """Largest deviation from the float64 reference of the float32 network."""


def measure(elf: Path, target: Target, expected: np.ndarray, observations: np.ndarray, tolerance: float) -> dict[str, float]:
    """The numbers of a Row. ``expected`` [N, out] answers ``observations`` [N, in]; ``tolerance`` is a share of its maximum.

    Raises WrongAnswer beyond it.
    """
    board = VirtualBoard(elf, target)
    try:
        answers = np.stack([board.step(row) for row in observations])
        error, allowed = float(np.abs(answers - expected).max()), tolerance * float(np.abs(expected).max())
        if not error <= allowed:  # not: NaN
            raise WrongAnswer(f"{elf}: deviates by {error:.3g} from the reference, more than {allowed:.3g}: not counted")
        profile = board.profile(observations[:COUNTED])
        band = (profile.cycles_low, profile.cycles_typical, profile.cycles_high, profile.memory_stall_cycles)
        low, typical, high, stalls = (-1 if cycles is None else int(cycles.max()) for cycles in band)
        return {
            "instructions": int(profile.instructions.max()),
            "cycles_low": low,
            "cycles_typical": typical,
            "cycles_high": high,
            "stall_cycles": stalls,
            "flash_bytes": board.flash_bytes,
            "ram_bytes": board.ram_static_bytes,
            "stack_bytes": profile.stack_bytes,
            "error": error,
        }
    finally:
        board.close()


def markdown(rows: list[Row]) -> str:
    """The rows as a table; each ratio is against ours for the same policy on the same board, in typical cycles."""
    ours = {(r.board, r.variant): r for r in rows if r.maker == OURS}
    head = ["board", "policy", "program", "instructions", "cycles low / typical / high", "stalls", "flash", "RAM", "stack"]
    head += ["error", "ratio to ours"]
    lines = ["| " + " | ".join(head) + " |", "|---|---|---|" + "--:|" * (len(head) - 3)]
    for r in rows:
        base = ours.get((r.board, r.variant))
        ratio = "" if base is None or r is base else f"{r.cycles_typical / base.cycles_typical:.2f}"
        cycles = f"{r.cycles_low:,} / {r.cycles_typical:,} / {r.cycles_high:,}"
        numbers = (f"{n:,}" for n in (r.stall_cycles, r.flash_bytes, r.ram_bytes, r.stack_bytes))
        cells = (r.board, r.variant, r.maker, f"{r.instructions:,}", cycles, *numbers, f"{r.error:.1e}", ratio)
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


OURS = "Pilotfish"
"""The maker of our rows."""
