"""What a paced run says: percentiles of the response, misses, how long they last, and how evenly the calls came."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...figure import Figure
from .pace import SPIN_NS, Paced
from .percentiles import histogram, percentile_figures
from .stationary import compare

ENOUGH_TO_COMPARE = 40
"""Responses from which on the two halves of a run are held against each other."""


def paced_figures(paced: Paced, device: str, jitter_budget_us: float | None, way: str = "") -> dict[str, Figure]:
    """Figures of a paced run, all measured on ``device``; ``way``: what notes say of the calls, such as of a guard in them."""
    n, after = len(paced.response_ns), f"; {way}" if way else ""
    note = f"from the release of the period to the action; slept to {SPIN_NS // 1000} us before the release, then spun; gc off"
    note += after
    figures = percentile_figures("paced", paced.response_ns / 1e3, source="measured", device=device, note=note)
    ran = paced.call_ns[paced.call_ns >= 0] / 1e3
    figures["paced_call_p50_us"] = percentile_figures(
        "paced_call", ran, source="measured", device=device, note=f"the call alone, with the caches that a pause leaves{after}"
    )["paced_call_p50_us"]

    def counted(value: int, note: str = "") -> Figure:
        return Figure(float(value), "periods", "measured", samples=n, device=device, note=note)

    late = f"in {paced.late} of them the call itself was short enough, but began too late" if paced.misses else ""
    figures["paced_misses"] = counted(paced.misses, late)
    figures["paced_longest_miss_run"] = counted(paced.longest_miss_run)
    what = "deviation of the interval between the starts of two calls from the period"
    spread = percentile_figures("paced_jitter", paced.deviation_ns / 1e3, source="measured", device=device, note=what)
    del spread["paced_jitter_worst_us"]  # which has had a name of its own for longer
    figures |= spread
    budget = f"; the target's budget is {jitter_budget_us:g} us" if jitter_budget_us else ""
    figures["paced_jitter_us"] = Figure(
        paced.jitter_ns / 1e3, "us", "measured", samples=len(paced.deviation_ns), device=device, note="largest " + what + budget
    )
    return figures


def paced_fields(paced: Paced) -> dict[str, Any]:
    """What a stored result says of a paced run beside its figures.

    ``jitter_histogram``; ``paced_steady``: the two halves of the run by :mod:`pilotfish.runtime.measure.stationary`'s test, or
    None where there were too few periods; ``miss_runs``: how many runs of misses there were of each length.
    """
    fields: dict[str, Any] = {"paced_steady": None, "miss_runs": {str(k): n for k, n in paced.miss_runs.items()}}
    if len(paced.deviation_ns):
        fields["jitter_histogram"] = histogram(paced.deviation_ns / 1e3)
    n = len(paced.response_ns)
    if n >= ENOUGH_TO_COMPARE:
        found = compare(paced.response_ns[: n // 2].astype(np.float64), paced.response_ns[n // 2 :].astype(np.float64))
        fields["paced_steady"] = {"steady": found.steady, "p": found.p, "shift": found.shift}
    return fields
