"""Minutes to hours at the control rate: does the latency stay what it was when the device grows warm?"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from typing import Any

import numpy as np

from ..errors import BadInput, Unsupported
from .artifact import Artifact
from .behind_guard import behind_guard, way_of
from .measure.device_facts import device_facts, moment, since
from .measure.rate import control_rate
from .measure.realtime import conditions
from .measure.soak_run import Soak
from .measure.stationary import warm_up
from .measure.tight import quiet
from .open import open_session
from .place import Progress, is_remote, is_virtual
from .results import device_of, result
from .verify import checked_golden

MAX_SECONDS = 7 * 24 * 3600.0
_UNITS = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600}


def seconds_of(text: str) -> float:
    """ "90", "90s", "10m", "2h" -> seconds; BadInput for anything else, or for more than a week."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", text.lower())
    if not found or found[2] not in _UNITS:
        raise BadInput("--soak", expected="a time such as 90s, 10m or 2h", found=repr(text))
    return _checked(float(found[1]) * _UNITS[found[2]])


def _checked(seconds: float) -> float:
    if not 1 <= seconds <= MAX_SECONDS:
        raise BadInput("soak", expected="from one second to a week", found=f"{seconds:g} seconds")
    return seconds


def soak(
    artifact: Artifact,
    seconds: float,
    *,
    trust: bool = False,
    control_hz: float | None = None,
    realtime: bool = False,
    pin: int | None = None,
    progress: Progress | None = None,
    say: Callable[[str], object] | None = None,
) -> dict[str, Any]:
    """Run an artifact paced for that long and store the result "soak"; ``say`` hears a line per stretch.

    Settings as in :func:`pilotfish.runtime.bench.bench`; a guarded artifact is soaked behind its guard. An interrupt ends the
    soak and keeps what was measured, unless that is nothing. Raises Unsupported for a virtual board, which has no time that
    could pass.
    """
    _checked(seconds)
    if is_virtual(artifact):
        raise Unsupported("soak", expected="a real device", found=f"the virtual board {artifact.manifest.target.name}")
    rate = control_rate(artifact.manifest.contract, artifact.manifest.target, control_hz)
    if is_remote(artifact):
        from .remote import run_there

        asked = {"seconds": seconds, "control_hz": control_hz, "realtime": realtime, "pin": pin}
        there = run_there(artifact, "soak", asked, trust=trust, progress=progress)
        if there is None:
            from .wire_soak import wire_soak

            return wire_soak(artifact, seconds, rate, trust=trust, realtime=realtime, pin=pin, progress=progress, say=say)
        return there
    rows = list(checked_golden(artifact).obs.astype(np.float32))
    facts = device_facts()
    with closing(open_session(artifact, trust=trust)) as session, conditions(realtime=realtime, pin=pin) as granted:
        sent = behind_guard(session, artifact)
        sent.reset()
        act = sent.act

        def call(k: int) -> None:
            act(rows[k % len(rows)])

        with quiet():
            warm = warm_up(call)
            sent.reset()
            run = Soak(call, rate.decision_hz, seconds, moment=moment)
            interrupted = run.go(progress, say)
    after = moment()
    device = device_of(artifact)
    data = result(
        artifact,
        run.figures(device, artifact.manifest.target.control.jitter_budget_us, way_of(sent)),
        control_hz=rate.hz,
        deadline_us=rate.period_us,
        asked_seconds=seconds,
        interrupted=interrupted,
        **run.fields(),
        warm_up=asdict(warm),
        conditions=[each.data() for each in granted],
        device_facts=facts,
        device_facts_after=after,
        warnings=facts["warnings"] + since(facts, after),
    )
    artifact.store_result("soak", data)
    return data
