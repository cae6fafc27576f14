"""Latency of a policy behind the wire protocol: timed on the device, by the device's own clock; and the way there and back."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from ..figure import Figure
from ..targets.wire.client import Refused
from ..targets.wire.messages import Refusal
from .measure.guard_cost import guard_figures
from .measure.pace import Paced
from .measure.paced_figures import paced_fields, paced_figures
from .measure.percentiles import histogram, percentile_figures
from .place import Progress
from .wire_session import WireSession

FIRST_CALLS = 16
"""Of the loop's first run; the next ones grow while they take less than GROW_SECONDS."""
FIRST_SECONDS, GROW_SECONDS = 2.0, 0.25
MAX_TIGHT_SECONDS = 10.0
"""Of this computer's time, as are all below: an emulator's may pass a thousand times more slowly than its board's."""
ROUND_TRIPS = 300
MAX_TRIP_SECONDS = 10.0
MAX_EMULATED_SECONDS = 30.0
"""For the paced run of an emulator."""
LEAST = 8
"""Samples that are taken however slow it is."""
ALONE = "the policy alone, its guard left out"
Told = Callable[[int], None]


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

    TIGHT: up to ``calls`` decisions back to back, as many as fit into MAX_TIGHT_SECONDS; behind a guard, if there is one, as
    many again. PACED: ``paced_seconds`` at ``hz`` against absolute releases, behind the guard; of an emulator, what fits into
    MAX_EMULATED_SECONDS. Both run wholly on the device; neither contains the line. ``round_trip`` does: from the observation
    here to the action here, which is what a loop that is closed over the link pays.
    """
    identity = session.client.identity
    periods = round(hz * paced_seconds) if paced_seconds else 0
    done, total = 0, calls * (1 + session.guarded) + ROUND_TRIPS + periods

    def told(more: int) -> None:
        nonlocal done
        done += more
        if progress:
            progress(done, total)

    session.reset()
    begin = time.perf_counter()
    session.act(observations[0])
    first_us, here_s = session.last_us, time.perf_counter() - begin
    tight_us = _tight_us(session, observations, calls, here_s, told, guarded=False)
    guarded, guarded_us = session.guarded, None
    if guarded:
        try:
            guarded_us = _tight_us(session, observations, calls, here_s, told, guarded=True)
        except Refused as error:
            if error.code != Refusal.UNKNOWN_KIND:
                raise
            guarded = False  # the device's program is older than this request
    trips_us = _round_trips(session, observations)
    done = total - periods
    told(0)
    how = f"timed on the device by its own clock of {identity.clock_hz:,} Hz, one clock read included"
    figures = percentile_figures("tight", tight_us, source="measured", device=device, note=how)
    figures["call_p50_us"] = percentile_figures("call", tight_us, source="measured", device=device, note=how)["call_p50_us"]
    way = "from the observation here to the action here: the line, both ends' programs and the decision"
    figures |= percentile_figures("round_trip", trips_us, source="measured", device=device, note=way)
    figures["first_call_us"] = Figure(first_us, "us", "measured", device=device, note="cold: the first call after loading")
    fields: dict[str, Any] = {"histograms": {"tight": histogram(tight_us)}, "deadline_met": None}
    if guarded_us is not None:
        figures |= guard_figures(tight_us, guarded_us, device, f"{how}; every decision through the guard")
    if periods:
        paced = _paced(session, observations, hz, periods, guarded)
        way = "through the guard, both on the device" if guarded else ALONE if session.guarded else ""
        note = "; ".join(
            filter(None, ("from the release of the period to the action, by the device's own clock; absolute releases", way))
        )
        figures |= {
            name: dataclasses.replace(figure, note=note if figure.note.startswith("from the release") else figure.note)
            for name, figure in paced_figures(paced, device, jitter_budget_us, way).items()
        }
        fields |= paced_fields(paced)
        fields["histograms"]["paced"] = histogram(paced.response_ns / 1e3)
        fields["deadline_met"] = paced.misses == 0 and (jitter_budget_us is None or paced.jitter_ns <= jitter_budget_us * 1e3)
        told(periods)
    return figures, fields


def _tight_us(
    session: WireSession, observations: np.ndarray, calls: int, here_s: float, told: Told, *, guarded: bool
) -> np.ndarray:
    """Microseconds of each decision by the device's clock, float64 [LEAST to ``calls``]; one has taken ``here_s`` of ours."""
    client, parts, done = session.client, list[np.ndarray](), 0
    client.hold(np.asarray(observations, np.float32))
    size, seconds_each = int(min(FIRST_CALLS, max(2, FIRST_SECONDS / here_s))), max(1.0, 4 * here_s)
    stop = time.perf_counter() + MAX_TIGHT_SECONDS
    while done < calls and (done < LEAST or time.perf_counter() < stop):
        size, begin = min(size, calls - done), time.perf_counter()
        parts.append(client.tight(size, seconds_each=seconds_each, guarded=guarded))
        took = time.perf_counter() - begin
        done += size
        told(size)
        seconds_each = 4 * took / size
        if took < GROW_SECONDS:
            size *= 4
    session.reset()
    told(calls - done)
    return np.concatenate(parts) * 1e6 / client.identity.clock_hz


def _paced(session: WireSession, observations: np.ndarray, hz: float, periods: int, guarded: bool) -> Paced:
    """All ``periods`` in as few runs as the device can; an emulator, which says that it is at work, first shows its rate."""
    if not session.client.busy or periods <= LEAST:
        return session.paced(observations, hz, periods, guarded=guarded)
    begin = time.perf_counter()
    first = session.paced(observations, hz, LEAST, guarded=guarded)
    more = min(periods - LEAST, int(LEAST * (MAX_EMULATED_SECONDS / (time.perf_counter() - begin) - 1)))
    if more < 1:
        return first
    rest = session.paced(None, hz, more, guarded=guarded)

    def both(name: str) -> np.ndarray:
        return np.concatenate([getattr(run, name) for run in (first, rest)])

    return Paced(both("response_ns"), both("start_ns"), both("call_ns"), first.period_ns)


def _round_trips(session: WireSession, observations: np.ndarray) -> np.ndarray:
    """Microseconds from the observation here to the action here, float64 [LEAST to ROUND_TRIPS]."""
    session.reset()
    trips_us: list[float] = []
    stop = time.perf_counter() + MAX_TRIP_SECONDS
    while len(trips_us) < ROUND_TRIPS and (len(trips_us) < LEAST or time.perf_counter() < stop):
        begin = time.perf_counter_ns()
        session.act(observations[len(trips_us) % len(observations)])
        trips_us.append((time.perf_counter_ns() - begin) / 1e3)
    return np.array(trips_us)
