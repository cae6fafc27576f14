"""Latency of a session in this process: a tight loop of the policy, then what is sent to the robot, paced."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from ...figure import Figure
from ...targets.onnxruntime import PROVIDERS
from ..artifact import Artifact
from ..behind_guard import way_of
from ..c_session import CSession
from ..guarded_c_session import GuardedCSession
from ..onnxruntime_session import OnnxRuntimeSession
from ..place import Progress
from ..results import device_of
from ..session import Session
from ..tensorrt_session import TensorRTSession
from .guard_cost import PYTHON, guard_figures
from .pace import pace
from .paced_figures import paced_fields, paced_figures
from .percentiles import histogram, percentile_figures
from .stationary import warm_up
from .tight import first_call_us, quiet, time_calls, time_inside, timer_overhead_ns

GPU_SAMPLES = 5_000


def host_bench(
    artifact: Artifact,
    session: Session,
    sent: Session,
    observations: np.ndarray,
    hz: float,
    calls: int,
    paced_seconds: float,
    progress: Progress | None,
) -> tuple[dict[str, Figure], dict[str, Any]]:
    """(figures, fields of the result) of ``observations`` float32 [N, n].

    ``session`` is timed in the tight loop, ``sent`` (see :func:`pilotfish.runtime.behind_guard.behind_guard`) is warmed up and
    paced; where it is another one, what it adds is timed as well.
    """
    device, rows, fields = device_of(artifact), list(observations), dict[str, Any]()
    act, send = session.act, sent.act
    periods = round(hz * paced_seconds) if paced_seconds else 0
    native, guarded = session if isinstance(session, CSession) else None, sent is not session
    guard_in_c = native is not None and isinstance(sent, GuardedCSession)
    total = calls * (1 + (native is not None) + guarded) + periods

    def report(base: int) -> Callable[[int, int], None] | None:
        return (lambda done, _: progress(base + done, total)) if progress else None

    session.reset()
    first_us = first_call_us(act, rows[0])
    guarded_us: np.ndarray | None = None
    with quiet():
        fields["warm_up"] = dataclasses.asdict(warm_up(lambda k: send(rows[k % len(rows)])))
        overhead_ns = timer_overhead_ns()
        call_us = time_calls(session, rows, calls, report(0))
        inside_us = time_inside(native, observations, calls, report(calls)) if native else None
        if guard_in_c and native is not None:
            guarded_us = time_inside(native, observations, calls, report(2 * calls), "policy_guard_time")
        elif guarded:
            guarded_us = time_calls(sent, rows, calls, report(total - periods - calls))
        sent.reset()
        paced = pace(lambda k: send(rows[k % len(rows)]), hz, periods, progress=report(total - periods)) if periods else None
    path = f" through {native.call_path.partition(':')[0]}" if native else ""
    if isinstance(session, OnnxRuntimeSession):
        path = f" on {PROVIDERS[session.provider]}"
    from_python = (
        f"timed around the Python call of act{path}; reading the clock costs {overhead_ns:.0f} ns of it, not subtracted; gc off"
    )
    tight_us, how = (
        (call_us, from_python) if inside_us is None else (inside_us, "timed inside the library, one clock read included")
    )
    alone = "; the policy alone, its guard left out" if guarded else ""
    figures = percentile_figures("tight", tight_us, source="measured", device=device, note=how + alone)
    # One name per quantity: for a back-end without a loop of its own, the two are the same measurement.
    figures["call_p50_us"] = percentile_figures("call", call_us, source="measured", device=device, note=from_python + alone)[
        "call_p50_us"
    ]
    if isinstance(session, TensorRTSession):
        how = f"by events, transfers and launch not included; host to host: {session.how}"
        figures |= percentile_figures("gpu", session.gpu_us(GPU_SAMPLES), source="measured", device=device, note=how)
    figures["first_call_us"] = Figure(first_us, "us", "measured", device=device, note="cold: the first call after loading")
    if guarded_us is not None:
        if guard_in_c and inside_us is not None:
            figures |= guard_figures(inside_us, guarded_us, device)
        else:
            figures |= guard_figures(call_us, guarded_us, device, how=PYTHON)
    fields["histograms"] = {"tight": histogram(tight_us)}
    if inside_us is not None:
        fields["histograms"]["call"] = histogram(call_us)
    fields["deadline_met"] = None
    if paced is not None:
        budget = artifact.manifest.target.control.jitter_budget_us
        figures |= paced_figures(paced, device, budget, way=way_of(sent))
        fields |= paced_fields(paced)
        fields["histograms"]["paced"] = histogram(paced.response_ns / 1e3)
        fields["deadline_met"] = paced.misses == 0 and (budget is None or paced.jitter_ns <= budget * 1e3)
    return figures, fields
