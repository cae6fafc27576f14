"""Latency and size of an artifact on its device: a tight loop, then paced at the control rate against the deadline."""

from __future__ import annotations

import contextlib
import gc
import math
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import numpy as np

from ..errors import BadInput
from ..figure import Figure
from ..targets.onnxruntime import PROVIDERS
from .artifact import Artifact
from .board_bench import BOARD_OBSERVATIONS, board_bench
from .c_session import CSession
from .onnxruntime_session import OnnxRuntimeSession
from .open import open_session
from .pace import SPIN_NS, Paced, pace
from .percentiles import histogram, percentile_figures
from .rate import control_rate
from .results import Progress, device_of, is_virtual, result
from .session import Session
from .tensorrt_session import TensorRTSession
from .verify import checked_golden
from .virtual_session import VirtualSession

WARM_UP_CALLS = 300
CHUNK = 1_000
"""Calls between two looks at the clock, the progress bar and Ctrl-C."""
MAX_TIGHT_SECONDS = 10.0
"""A slow policy gets fewer calls; every figure says how many."""
GPU_SAMPLES = 5_000
MAX_CALLS = 10_000_000
MAX_PERIODS = 10_000_000


def bench(
    artifact: Artifact,
    *,
    trust: bool = False,
    control_hz: float | None = None,
    calls: int = 20_000,
    paced_seconds: float = 3.0,
    seed: int = 0,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measure and store latency and sizes.

    A real machine: ``calls`` calls back to back, then ``paced_seconds`` at ``control_hz`` actions per second (default: the
    policy's, else the target's; a decision of k actions is due k times less often), each timed by itself on observations of
    the golden rollout in recorded order from a place that ``seed`` picks. ``deadline_met``: no period was missed, and the jitter
    stayed within the target's budget if it has one.
    A virtual board: instructions, cycles and memory from its profile, see :mod:`pilotfish.runtime.board_bench`.
    An interrupt leaves the earlier result as it was.
    """
    rate = control_rate(artifact.manifest.contract, artifact.manifest.target, control_hz)
    hz = rate.decision_hz
    if not 1 <= calls <= MAX_CALLS:
        raise BadInput("calls", expected=f"1 to {MAX_CALLS:,}", found=f"{calls}")
    if not (math.isfinite(paced_seconds) and paced_seconds >= 0 and hz * paced_seconds <= MAX_PERIODS):
        raise BadInput("paced_seconds", expected=f"0 or more, and at most {MAX_PERIODS:,} periods", found=f"{paced_seconds}")
    golden = checked_golden(artifact)
    first = int(np.random.default_rng(seed).integers(len(golden)))
    observations = np.roll(golden.obs, -first, axis=0).astype(np.float32)
    fields: dict[str, Any] = {"control_hz": rate.hz, "deadline_us": rate.period_us, "histograms": {}}
    with closing(open_session(artifact, trust=trust)) as session:
        if isinstance(session, VirtualSession):
            spread = np.linspace(0, len(observations) - 1, min(BOARD_OBSERVATIONS, len(observations))).round().astype(int)
            figures, verdict = board_bench(artifact, session.board, observations[spread], rate.period_us)
            fields |= verdict
        else:
            figures = _host(artifact, session, observations, hz, calls, paced_seconds, fields, progress)
    figures["artifact_bytes"] = Figure(
        float(artifact.entry.stat().st_size),
        "bytes",
        "measured",
        device=device_of(artifact),
        note=f"{artifact.manifest.entry}, as a file" + ("; what is flashed is smaller" if is_virtual(artifact) else ""),
    )
    data = result(artifact, figures, **fields)
    artifact.store_result("bench", data)
    return data


def _host(
    artifact: Artifact,
    session: Session,
    observations: np.ndarray,
    hz: float,
    calls: int,
    paced_seconds: float,
    fields: dict[str, Any],
    progress: Progress | None,
) -> dict[str, Figure]:
    device, rows, act = device_of(artifact), list(observations), session.act
    periods = round(hz * paced_seconds) if paced_seconds else 0
    native = session if isinstance(session, CSession) else None
    total = calls * (2 if native else 1) + periods

    def report(base: int) -> Callable[[int, int], None] | None:
        return (lambda done, _: progress(base + done, total)) if progress else None

    session.reset()
    first_us = _first_call_us(act, rows)
    with _quiet():
        overhead_ns = _timer_overhead_ns()
        call_us = _time_calls(session, rows, calls, report(0))
        inside_us = _time_inside(native, observations, calls, report(calls)) if native else None
        session.reset()
        paced = pace(lambda k: act(rows[k % len(rows)]), hz, periods, progress=report(total - periods)) if periods else None
    path = f" through {native.call_path.partition(':')[0]}" if native else ""
    if isinstance(session, OnnxRuntimeSession):
        path = f" on {PROVIDERS[session.provider]}"
    from_python = (
        f"timed around the Python call of act{path}; reading the clock costs {overhead_ns:.0f} ns of it, not subtracted; gc off"
    )
    tight_us, how = (
        (call_us, from_python) if inside_us is None else (inside_us, "timed inside the library, one clock read included")
    )
    figures = percentile_figures("tight", tight_us, source="measured", device=device, note=how)
    # One name per quantity: for a back-end without a loop of its own, the two are the same measurement.
    figures["call_p50_us"] = percentile_figures("call", call_us, source="measured", device=device, note=from_python)[
        "call_p50_us"
    ]
    if isinstance(session, TensorRTSession):
        how = f"by events, transfers and launch not included; host to host: {session.how}"
        figures |= percentile_figures("gpu", session.gpu_us(GPU_SAMPLES), source="measured", device=device, note=how)
    figures["first_call_us"] = Figure(first_us, "us", "measured", device=device, note="cold: the first call after loading")
    fields["histograms"]["tight"] = histogram(tight_us)
    if inside_us is not None:
        fields["histograms"]["call"] = histogram(call_us)
    fields["deadline_met"] = None
    if paced is not None:
        figures |= _paced_figures(artifact, paced, device)
        fields["histograms"]["paced"] = histogram(paced.response_ns / 1e3)
        budget = artifact.manifest.target.control.jitter_budget_us
        fields["deadline_met"] = paced.misses == 0 and (budget is None or paced.jitter_ns <= budget * 1e3)
    return figures


def _paced_figures(artifact: Artifact, paced: Paced, device: str) -> dict[str, Figure]:
    n = len(paced.response_ns)
    note = f"from the release of the period to the action; slept to {SPIN_NS // 1000} us before the release, then spun; gc off"
    figures = percentile_figures("paced", paced.response_ns / 1e3, source="measured", device=device, note=note)
    ran = paced.call_ns[paced.call_ns >= 0] / 1e3
    figures["paced_call_p50_us"] = percentile_figures(
        "paced_call", ran, source="measured", device=device, note="the call alone, with the caches that a pause leaves behind"
    )["paced_call_p50_us"]
    figures["paced_misses"] = Figure(
        float(paced.misses),
        "periods",
        "measured",
        samples=n,
        device=device,
        note=f"in {paced.late} of them the call itself was short enough, but began too late" if paced.misses else "",
    )
    figures["paced_longest_miss_run"] = Figure(float(paced.longest_miss_run), "periods", "measured", samples=n, device=device)
    budget = artifact.manifest.target.control.jitter_budget_us
    figures["paced_jitter_us"] = Figure(
        paced.jitter_ns / 1e3,
        "us",
        "measured",
        samples=n,
        device=device,
        note="largest deviation of the interval between two calls"
        + (f"; the target's budget is {budget:g} us" if budget else ""),
    )
    return figures


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No garbage collection inside: a control loop switches it off too, or pays for it in its tail."""
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _timer_overhead_ns() -> float:
    """What two neighboring clock reads measure when nothing lies between them: the median of 2,000."""
    now = time.perf_counter_ns
    empty = []
    for _ in range(2_000):
        begin = now()
        empty.append(now() - begin)
    return float(np.median(empty))


def _first_call_us(act: Callable[[np.ndarray], np.ndarray], rows: list[np.ndarray]) -> float:
    """The cold first call in microseconds; then the warm-up."""
    now = time.perf_counter_ns
    begin = now()
    act(rows[0])
    first = (now() - begin) / 1e3
    stop = now() + int(0.5e9)
    for k in range(WARM_UP_CALLS):
        act(rows[k % len(rows)])
        if now() > stop:
            break
    return first


def _time_calls(session: Session, rows: list[np.ndarray], calls: int, progress: Progress | None) -> np.ndarray:
    """Microseconds of each call, float64 [<= calls]; stops early after MAX_TIGHT_SECONDS."""
    session.reset()
    now, act, count = time.perf_counter_ns, session.act, len(rows)
    elapsed: list[int] = []
    stop = now() + int(MAX_TIGHT_SECONDS * 1e9)
    while len(elapsed) < calls:
        done = len(elapsed)
        for k in range(done, min(done + CHUNK, calls)):
            obs = rows[k % count]
            begin = now()
            act(obs)
            end = now()
            elapsed.append(end - begin)
            if end > stop:
                break
        if progress:
            progress(len(elapsed), calls)
        if now() > stop:
            break
    return np.asarray(elapsed, np.float64) / 1e3


def _time_inside(session: CSession, observations: np.ndarray, calls: int, progress: Progress | None) -> np.ndarray | None:
    """The same by the library's own loop; None where it has none."""
    parts: list[np.ndarray] = []
    done, stop = 0, time.perf_counter() + MAX_TIGHT_SECONDS
    chunk = 16  # grows to CHUNK: the library cannot be interrupted, and the first chunks say how slow it is
    while done < calls and time.perf_counter() < stop:
        size = min(chunk, calls - done)
        # Each chunk goes on where the last one ended, so that all observations take part.
        part = session.time_native(np.roll(observations, -(done % len(observations)), axis=0), size)
        if part is None:
            return None
        parts.append(part)
        done += size
        if part.sum() < 0.05e9:
            chunk = min(CHUNK, chunk * 4)
        if progress:
            progress(done, calls)
    return np.concatenate(parts).astype(np.float64) / 1e3
