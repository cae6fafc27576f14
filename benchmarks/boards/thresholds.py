"""What the boards have to show: each goal, what was found, met or short."""

from __future__ import annotations

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
        said.append(_at_most(f"{board}: {variant} at most {most:,} cycles", most, found.cycles_typical if found else None))
    for variant in (DENSE, INT8):
        peers = [r for r in rows if (r.board, r.variant) == (M4F, variant) and r.maker != OURS]
        found, best = ours.get((M4F, variant)), min(peers, key=lambda r: r.flash_bytes, default=None)
        if best is None:
            said.append(f"not measured  {M4F}: flash of {variant} against the peers: no peer was given")
            continue
        goal = f"{M4F}: flash of {variant} at most that of {best.maker}, {best.flash_bytes:,} bytes"
        said.append(_at_most(goal, best.flash_bytes, found.flash_bytes if found else None))
    for function in ("relu", "tanh"):
        twin = ours.get((M4F, f"float32 {function}"))
        for pruned, least in SPEEDUPS:
            found = ours.get((M4F, f"{pruned} {function}"))
            goal = f"{M4F}: {pruned} {function} at least {least:g} times as fast as its dense twin"
            if twin is None or found is None:
                said.append(f"not measured  {goal}")
                continue
            times = twin.cycles_typical / found.cycles_typical
            said.append(f"{_verdict(times >= least)} {goal}: {times:.2f}")
    return said


def _at_most(goal: str, most: int, found: int | None) -> str:
    return f"not measured  {goal}" if found is None else f"{_verdict(found <= most)} {goal}: {found:,}"


def _verdict(met: bool) -> str:
    return f"{'met' if met else 'SHORT':13}"
