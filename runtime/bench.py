"""Latency and size of an artifact on its device: a tight loop, then paced at the control rate against the deadline."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from contextlib import closing
from typing import Any

import numpy as np

from ..errors import BadInput
from ..figure import Figure
from ..policy.guard_table import GUARD_FILE
from ..targets.onnxruntime import PROVIDERS
from .artifact import Artifact
from .board_bench import BOARD_OBSERVATIONS, board_bench
from .c_session import CSession
from .device_facts import device_facts, moment, since
from .energy import energy_figures, find_meter, load_meter, spend
from .guard_cost import board_guard_figures, guard_figures
from .onnxruntime_session import OnnxRuntimeSession
from .open import open_session
from .pace import pace
from .paced_figures import paced_fields, paced_figures
from .percentiles import histogram, percentile_figures
from .place import Progress, is_behind_terminal, is_remote, is_virtual
from .rate import control_rate
from .realtime import conditions
from .results import device_of, result
from .session import Session
from .stationary import warm_up
from .tensorrt_session import TensorRTSession
from .tight import first_call_us, quiet, time_calls, time_inside, timer_overhead_ns
from .verify import checked_golden
from .virtual_session import VirtualSession
from .wire_bench import wire_bench
from .wire_session import WireSession

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
    realtime: bool = False,
    pin: int | None = None,
    energy: str | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Measure and store latency and sizes.

    A real machine: ``calls`` calls back to back, then ``paced_seconds`` at ``control_hz`` actions per second (default: the
    policy's, else the target's; a decision of k actions is due k times less often), each timed by itself on observations of
    the golden rollout in recorded order from a place that ``seed`` picks, after a warm-up of its own
    (:mod:`pilotfish.runtime.stationary`). ``deadline_met``: no period was missed, and the jitter stayed within the target's
    budget if it has one. ``realtime``, ``pin``: see :func:`pilotfish.runtime.realtime.conditions`; what was granted is stored.
    ``energy``: what an action takes, by "auto" or "MODULE:FUNCTION", see :func:`pilotfish.runtime.energy.load_meter`.
    ``device_facts`` are taken before, ``warnings`` say why they make a figure doubtful.
    A device that its link reaches: the same there where it has a Python, else :mod:`pilotfish.runtime.wire_bench`.
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
    if is_remote(artifact):
        from .remote import run_there

        asked = {"control_hz": control_hz, "calls": calls, "paced_seconds": paced_seconds, "seed": seed, "realtime": realtime}
        there = run_there(artifact, "bench", asked | {"pin": pin, "energy": energy}, trust=trust, progress=progress)
        if there is not None:
            return there
    first = int(np.random.default_rng(seed).integers(len(golden)))
    observations = np.roll(golden.obs, -first, axis=0).astype(np.float32)
    fields: dict[str, Any] = {"control_hz": rate.hz, "deadline_us": rate.period_us, "histograms": {}}
    with closing(_opened(artifact, trust, realtime, pin)) as session:
        if isinstance(session, VirtualSession):
            spread = np.linspace(0, len(observations) - 1, min(BOARD_OBSERVATIONS, len(observations))).round().astype(int)
            figures, verdict = board_bench(artifact, session.board, observations[spread], rate.period_us)
            if GUARD_FILE in artifact.manifest.files:
                figures |= board_guard_figures(session.board, observations[spread], device_of(artifact))
            fields |= verdict
        elif isinstance(session, WireSession):
            budget = artifact.manifest.target.control.jitter_budget_us
            device = device_of(artifact)
            figures, told = wire_bench(
                session, observations, hz, calls, paced_seconds, device=device, jitter_budget_us=budget, progress=progress
            )
            if is_behind_terminal(artifact):  # an emulator's clock is its cycle model
                figures = {name: dataclasses.replace(figure, source="estimated") for name, figure in figures.items()}
            fields |= told | {"runner": session.client.identity.board}
        else:
            facts, meter = device_facts(), load_meter(energy) if energy else None
            with conditions(realtime=realtime, pin=pin) as granted:
                figures = _host(artifact, session, observations, hz, calls, paced_seconds, fields, progress)
                if meter is not None:
                    rows = list(observations)
                    with quiet():
                        spent = spend(lambda k: session.act(rows[k % len(rows)]), meter, hz)
                    figures |= energy_figures(spent, meter, device_of(artifact))
            fields["conditions"] = [each.data() for each in granted]
            fields["device_facts"], after = facts, moment()
            fields["device_facts_after"], fields["warnings"] = after, facts["warnings"] + since(facts, after)
            if energy and meter is None:
                fields["warnings"] = [*fields["warnings"], f"no energy is measured: {find_meter()[1]}"]
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


def _opened(artifact: Artifact, trust: bool, realtime: bool, pin: int | None) -> Session:
    """The session to time; a native runner on the device is told what to ask its kernel for, and says what it was granted."""
    if not is_remote(artifact):
        return open_session(artifact, trust=trust)
    from .remote import linked_session

    words = (("--realtime",) if realtime else ()) + (() if pin is None else ("--pin", str(pin)))
    return linked_session(artifact, trust, words)


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
    guarded = native is not None and GUARD_FILE in artifact.manifest.files
    total = calls * (1 + (native is not None) + guarded) + periods

    def report(base: int) -> Callable[[int, int], None] | None:
        return (lambda done, _: progress(base + done, total)) if progress else None

    session.reset()
    first_us = first_call_us(act, rows[0])
    with quiet():
        fields["warm_up"] = dataclasses.asdict(warm_up(lambda k: act(rows[k % len(rows)])))
        overhead_ns = timer_overhead_ns()
        call_us = time_calls(session, rows, calls, report(0))
        inside_us = time_inside(native, observations, calls, report(calls)) if native else None
        guarded_us = (
            time_inside(native, observations, calls, report(2 * calls), "policy_guard_time") if native and guarded else None
        )
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
    if guarded_us is not None and inside_us is not None:
        figures |= guard_figures(inside_us, guarded_us, device)
    fields["histograms"]["tight"] = histogram(tight_us)
    if inside_us is not None:
        fields["histograms"]["call"] = histogram(call_us)
    fields["deadline_met"] = None
    if paced is not None:
        budget = artifact.manifest.target.control.jitter_budget_us
        figures |= paced_figures(paced, device, budget)
        fields |= paced_fields(paced)
        fields["histograms"]["paced"] = histogram(paced.response_ns / 1e3)
        fields["deadline_met"] = paced.misses == 0 and (budget is None or paced.jitter_ns <= budget * 1e3)
    return figures
