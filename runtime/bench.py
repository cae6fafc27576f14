"""Latency and size of an artifact on its device: a tight loop, then paced at the control rate against the deadline."""

from __future__ import annotations

import dataclasses
import math
from contextlib import closing
from typing import Any

import numpy as np

from ..errors import BadInput
from ..figure import Figure
from ..policy.guard_table import GUARD_FILE
from .artifact import Artifact
from .behind_guard import behind_guard
from .measure.board_bench import BOARD_OBSERVATIONS, board_bench
from .measure.device_facts import device_facts, moment, since
from .measure.energy import energy_figures, find_meter, load_meter, spend
from .measure.guard_cost import board_guard_figures
from .measure.host_bench import host_bench
from .measure.rate import control_rate
from .measure.realtime import conditions
from .measure.tight import quiet
from .open import open_session
from .place import Progress, is_behind_terminal, is_remote, is_virtual
from .results import device_of, result
from .session import Session
from .verify import checked_golden
from .virtual_session import VirtualSession
from .wire_bench import wire_bench
from .wire_session import WireSession

MAX_CALLS = 10_000_000
MAX_PERIODS = 10_000_000
NO_ENERGY = {
    "virtual": "no energy is measured: a virtual board is a computation, which takes none of the device's",
    "wire": "no energy is measured: a sensor on the device would be read by a Python there, and this bench runs without one",
}
"""Why there is none, by what runs the policy."""


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
    (:mod:`pilotfish.runtime.measure.stationary`). ``deadline_met``: no period was missed, and the jitter stayed within the
    target's budget if it has one. Where an artifact has a guard, what is paced, and judged by the deadline, is the guarded
    decision, since that is what runs on the robot; the tight loop is the policy's own. ``realtime``, ``pin``: see
    :func:`pilotfish.runtime.measure.realtime.conditions`; what was granted is stored. ``notes`` say what could not be
    measured, and why.
    ``energy``: what an action takes, by "auto" or "MODULE:FUNCTION", see :func:`pilotfish.runtime.measure.energy.load_meter`.
    ``device_facts`` are taken before, ``warnings`` say why they make a figure doubtful.
    A device that its link reaches: the same there where it has a Python, else :mod:`pilotfish.runtime.wire_bench`.
    A virtual board: instructions, cycles and memory from its profile, see :mod:`pilotfish.runtime.measure.board_bench`.
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
            fields |= verdict
            if GUARD_FILE in artifact.manifest.files:
                figures |= board_guard_figures(session.board, observations[spread], device_of(artifact))
                guarded = figures.get("guarded_latency_us")
                if guarded is not None and guarded.high is not None:
                    fields["deadline_met"] = guarded.high <= rate.period_us
            fields["notes"] = [NO_ENERGY["virtual"]] if energy else []
        elif isinstance(session, WireSession):
            budget = artifact.manifest.target.control.jitter_budget_us
            device = device_of(artifact)
            figures, told = wire_bench(
                session, observations, hz, calls, paced_seconds, device=device, jitter_budget_us=budget, progress=progress
            )
            if is_behind_terminal(artifact):
                figures = {name: _of_emulator(name, figure) for name, figure in figures.items()}
            fields |= told | {"runner": session.client.identity.board, "notes": [NO_ENERGY["wire"]] if energy else []}
        else:
            facts, meter = device_facts(), load_meter(energy) if energy else None
            with conditions(realtime=realtime, pin=pin) as granted:
                sent = behind_guard(session, artifact)
                figures, told = host_bench(artifact, session, sent, observations, hz, calls, paced_seconds, progress)
                fields |= told
                if meter is not None:
                    rows = list(observations)
                    with quiet():
                        spent = spend(lambda k: sent.act(rows[k % len(rows)]), meter, hz)
                    figures |= energy_figures(spent, meter, device_of(artifact))
            fields["conditions"] = [each.data() for each in granted]
            fields["device_facts"], after = facts, moment()
            fields["device_facts_after"], fields["warnings"] = after, facts["warnings"] + since(facts, after)
            fields["notes"] = [f"no energy is measured: {find_meter()[1]}"] if energy and meter is None else []
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


def _of_emulator(name: str, figure: Figure) -> Figure:
    """A figure of a board emulated behind a terminal: its clock is a cycle model, but the line is timed by this computer."""
    if name.startswith("round_trip"):
        note = "; ".join(filter(None, (figure.note, "by this computer's clock, while it emulates: says nothing about the board")))
        return dataclasses.replace(figure, note=note)
    return dataclasses.replace(figure, source="estimated")
