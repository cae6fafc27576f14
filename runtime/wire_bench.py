"""Latency of a policy behind the wire protocol: timed on the device, by the device's own clock; and the way there and back."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import numpy as np

from ..figure import Figure
from .paced_figures import paced_fields, paced_figures
from .percentiles import histogram, percentile_figures
from .place import Progress
from .wire_session import WireSession

FIRST_CALLS = 16
"""Decisions that say how slow the policy is, so that the loop can be fitted into its time."""
MAX_TIGHT_SECONDS = 10.0
ROUND_TRIPS = 300


def wire_bench(
    session: WireSession,
    observations: np.ndarray,
    hz: float,
    calls: int,
    paced_seconds: float,
    *,
    device: str,
    jitter_budget_us: float | None,
    progress: Progress | None = None,
) -> tuple[dict[str, Figure], dict[str, Any]]:
    """(figures, fields of the result) of ``observations`` float32 [N, n]: as many of the first as the device can hold are used.

    TIGHT: up to ``calls`` decisions back to back, as many as fit into MAX_TIGHT_SECONDS. PACED: ``paced_seconds`` at ``hz``
    against absolute releases. Both run wholly on the device; neither contains the line. ``round_trip`` does: from the
    observation here to the action here, which is what a loop that is closed over the link pays.
    """
    identity = session.client.identity
    periods = round(hz * paced_seconds) if paced_seconds else 0
    session.reset()
    session.act(observations[0])
    first_us = session.last_us
    slow_us = float(session.tight_us(observations, FIRST_CALLS, seconds_each=1.0).max())
    fitting = int(max(FIRST_CALLS, min(calls, MAX_TIGHT_SECONDS * 1e6 / max(slow_us, 1e-3))))
    total = fitting + ROUND_TRIPS + periods
    tight_us = session.tight_us(observations, fitting, seconds_each=max(slow_us * 4e-6, 1e-5))
    if progress:
        progress(fitting, total)
    session.reset()
    trips_us = np.empty(ROUND_TRIPS)
    for k in range(ROUND_TRIPS):
        begin = time.perf_counter_ns()
        session.act(observations[k % len(observations)])
        trips_us[k] = (time.perf_counter_ns() - begin) / 1e3
    if progress:
        progress(fitting + ROUND_TRIPS, total)
    how = f"timed on the device by its own clock of {identity.clock_hz:,} Hz, one clock read included"
    figures = percentile_figures("tight", tight_us, source="measured", device=device, note=how)
    figures["call_p50_us"] = percentile_figures("call", tight_us, source="measured", device=device, note=how)["call_p50_us"]
    way = "from the observation here to the action here: the line, both ends' programs and the decision"
    figures |= percentile_figures("round_trip", trips_us, source="measured", device=device, note=way)
    figures["first_call_us"] = Figure(first_us, "us", "measured", device=device, note="cold: the first call after loading")
    fields: dict[str, Any] = {"histograms": {"tight": histogram(tight_us)}, "deadline_met": None}
    if periods:
        paced = session.paced(observations, hz, periods)
        note = "from the release of the period to the action, by the device's own clock; absolute releases"
        figures |= {
            name: dataclasses.replace(figure, note=note if figure.note.startswith("from the release") else figure.note)
            for name, figure in paced_figures(paced, device, jitter_budget_us).items()
        }
        fields |= paced_fields(paced)
        fields["histograms"]["paced"] = histogram(paced.response_ns / 1e3)
        fields["deadline_met"] = paced.misses == 0 and (jitter_budget_us is None or paced.jitter_ns <= jitter_budget_us * 1e3)
        if progress:
            progress(total, total)
    return figures, fields
