"""What the boards have to show: each goal, what was found, met or short."""

from __future__ import annotations

from collections.abc import Callable

from .row import OURS, Row

M4F, M0PLUS = "crazyflie", "nucleo-g0b1re"
DENSE, INT8 = "float32 tanh", "int8 tanh"
CYCLES = (
    (M4F, DENSE, 33_000),
    (M4F, INT8, 18_000),
    (M4F, "95 % sparse relu", 2_500),
    (M0PLUS, INT8, 60_000),
)
"""Board, policy, most typical cycles."""
SPEEDUPS = (("90 % sparse", 4.0), ("95 % sparse", 7.0))
"""Pruned policy, how much faster than its dense twin on the M4F."""


def lines(rows: list[Row]) -> list[str]:
    """One sentence a goal; a goal whose rows are missing says so."""
    ours = {(r.board, r.variant): r for r in rows if r.maker == OURS}
    said = []
    for board, variant, most in CYCLES:
        found = ours.get((board, variant))
        said.append(
            _line(f"{board}: {variant} at most {most:,} cycles", found, lambda r: r.cycles_typical, lambda n, m=most: n <= m)
        )
    for variant in (DENSE, INT8):
        peers = [r for r in rows if (r.board, r.variant) == (M4F, variant) and r.maker != OURS]
        best = min(peers, key=lambda r: r.flash_bytes, default=None)
        if best is None:
            said.append(f"not measured  {M4F}: flash of {variant} against the peers: no peer was given")
            continue
        goal = f"{M4F}: flash of {variant} at most that of {best.maker}, {best.flash_bytes:,} bytes"
        said.append(_line(goal, ours.get((M4F, variant)), lambda r: r.flash_bytes, lambda n, m=best.flash_bytes: n <= m))
    for function in ("relu", "tanh"):
        twin = ours.get((M4F, f"float32 {function}"))
        for pruned, least in SPEEDUPS:
            variant = f"{pruned} {function}"
            found = ours.get((M4F, variant)) if twin else None
            goal = f"{M4F}: {variant} at least {least:g} times as fast as its dense twin"
            base = twin.cycles_typical if twin else 0
            said.append(_line(goal, found, lambda r, b=base: b / r.cycles_typical, lambda n, m=least: n >= m))
    return said


def _line(goal: str, row: Row | None, number: Callable[[Row], float], right: Callable[[float], bool]) -> str:
    if row is None:
        return f"not measured  {goal}"
    found = number(row)
    shown = f"{found:,}" if isinstance(found, int) else f"{found:.2f}"
    return f"{'met  ' if right(found) else 'SHORT'}         {goal}: {shown}"
