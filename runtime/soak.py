"""Minutes to hours at the control rate: does the latency stay what it was when the device grows warm?

Memory does not grow with time: at most STRETCHES summaries, each from a histogram of fixed size. The loop is paced in blocks
of a second against one grid of absolute deadlines. What is read and kept between two blocks takes time, too: periods whose
release passes meanwhile are left out and counted as ``rested_periods``; they are neither met nor missed.
"""

from __future__ import annotations

import gc
import math
import re
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from ..errors import BadInput, Unsupported
from ..figure import Figure
from .artifact import Artifact
from .device_facts import device_facts, moment, since
from .open import open_session
from .pace import SPIN_NS, Clock, MonotonicClock, pace
from .place import Progress, is_remote, is_virtual
from .rate import control_rate
from .realtime import conditions
from .results import device_of, result
from .stationary import compare, warm_up
from .streaming import Streaming
from .tight import quiet
from .verify import checked_golden

STRETCHES = 240
BLOCK_SECONDS = 1.0
"""Ctrl-C loses no more than the block that is under way."""
CATCH_UP = 16
"""Periods that a block is prolonged by while the policy is behind."""
MAX_SECONDS = 7 * 24 * 3600.0
_UNITS = {"": 1, "s": 1, "m": 60, "min": 60, "h": 3600}


@dataclass(frozen=True)
class Stretch:
    """A part of a soak, in one line."""

    start_s: float
    """Seconds from the soak's beginning."""
    seconds: float
    """How long it lasted."""
    periods: int
    """Control periods in it."""
    p50_us: float | None
    """Median response; None where the sample does not support it, as below."""
    p99_us: float | None
    """99th percentile."""
    p999_us: float | None
    """99.9th percentile."""
    worst_us: float
    """The slowest one."""
    misses: int
    """Periods without their action in time."""
    longest_miss_run: int
    """Most of them in a row."""
    hottest_c: float | None
    """Temperature at its end."""
    mhz: float | None
    """Clock of the fastest cores at its end."""


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

    Settings as in :func:`pilotfish.runtime.bench.bench`. An interrupt ends the soak and keeps what was measured, unless that
    is nothing. Raises Unsupported for a virtual board, which has no time that could pass.
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
            repair = "Use pilotfish bench --paced-seconds, which the device times itself"
            raise Unsupported("soak", expected="a device with a Python", found="one without", repair=repair)
        return there
    rows = list(checked_golden(artifact).obs.astype(np.float32))
    facts = device_facts()
    with closing(open_session(artifact, trust=trust)) as session, conditions(realtime=realtime, pin=pin) as granted:
        session.reset()
        act = session.act

        def call(k: int) -> None:
            act(rows[k % len(rows)])

        with quiet():
            warm = warm_up(call)
            session.reset()
            run = Soak(call, rate.decision_hz, seconds, moment=moment)
            interrupted = run.go(progress, say)
    after = moment()
    device = device_of(artifact)
    data = result(
        artifact,
        run.figures(device, artifact.manifest.target.control.jitter_budget_us),
        control_hz=rate.hz,
        deadline_us=rate.period_us,
        deadline_met=run.misses == 0,
        seconds=run.measured_s,
        asked_seconds=seconds,
        interrupted=interrupted,
        rested_periods=run.rested,
        stretches=[asdict(stretch) for stretch in run.stretches],
        histogram=run.whole.table(),
        warm_up=asdict(warm),
        conditions=[each.data() for each in granted],
        device_facts=facts,
        device_facts_after=after,
        warnings=facts["warnings"] + since(facts, after),
    )
    artifact.store_result("soak", data)
    return data


class Soak:
    """The run itself: ``call(k)`` in every period, k counting over the whole soak."""

    def __init__(
        self,
        call: Callable[[int], object],
        hz: float,
        seconds: float,
        *,
        moment: Callable[[], dict[str, Any]],
        clock: Clock | None = None,
        spin_ns: int = SPIN_NS,
    ) -> None:
        self.call, self.hz, self.seconds, self.moment = call, hz, seconds, moment
        self.clock, self.spin_ns = clock or MonotonicClock(), spin_ns
        self.whole, self.stretches = Streaming(), list[Stretch]()
        self.misses = self.longest_miss_run = self.rested = self.jitter_ns = self.periods = 0
        self.measured_s = 0.0

    def go(self, progress: Progress | None = None, say: Callable[[str], object] | None = None) -> bool:
        """Run to the end -> False, or until an interrupt -> True; KeyboardInterrupt if it comes before the first block ends."""
        total = max(1, round(self.hz * self.seconds))
        block = max(1, min(round(self.hz * BLOCK_SECONDS), total))
        per_stretch = max(block, math.ceil(total / STRETCHES))
        self._origin, first = self.clock.now_ns() + max(self.spin_ns, 1000), 0
        part = _Part(0, Streaming())
        try:
            while first < total:
                first = self._block(part, first, block, total)
                ended = self.clock.now_ns()
                if part.periods >= per_stretch or first >= total:
                    self._close(part, say)
                    part = _Part(first, Streaming(), part.unfinished)
                if progress:
                    progress(min(round(first / self.hz), round(self.seconds)), round(self.seconds))
                first = self._rest(part, first, total, ended)
        except KeyboardInterrupt:
            if part.periods:
                self._close(part, say)
            if not self.stretches:
                raise
            return True
        return False

    def _block(self, part: _Part, first: int, count: int, total: int) -> int:
        """Pace ``count`` periods from ``first`` on, and more while the policy is behind -> the first one that is left.

        So nothing that the policy spoiled is laid at the door of what follows; twice as many periods are the most.
        """
        most = min(first + 2 * count, total)
        while True:
            start, count = first, min(count, most - first)
            paced = pace(
                lambda k, start=start: self.call(start + k),  # type: ignore[misc]
                self.hz, count, clock=self.clock, spin_ns=self.spin_ns, begun=(self._origin, first),
            )  # fmt: skip
            part.add(paced.response_ns, paced.missed)
            self.jitter_ns = max(self.jitter_ns, paced.jitter_ns)
            first += count
            if first >= most or self.clock.now_ns() <= self._release(first):
                return first
            count = CATCH_UP

    def _release(self, k: int) -> int:
        return self._origin + round(k * 1e9 / self.hz)

    def _rest(self, part: _Part, first: int, total: int, ended_ns: int) -> int:
        """The first period that can still be waited for; those whose release passed since the block ended are left out."""
        if first >= total or self.clock.now_ns() <= self._release(first) or ended_ns > self._release(first) + 1e9 / self.hz:
            return first
        coming = min(total, math.ceil((self.clock.now_ns() - self._origin) * self.hz / 1e9))
        self.rested += coming - first
        part.unfinished = 0  # what follows is not in a row with what was
        if not part.periods:
            part.first = coming
        return coming

    def _close(self, part: _Part, say: Callable[[str], object] | None) -> None:
        gc.collect(0)  # a whole collection takes a third of a second on a small computer
        state = self.moment()
        self.whole.merge(part.seen)
        self.misses += part.misses
        self.periods += part.periods
        self.longest_miss_run = max(self.longest_miss_run, part.longest)
        self.measured_s += part.periods / self.hz
        stretch = Stretch(
            part.first / self.hz, part.periods / self.hz, part.periods,
            part.seen.percentile(0.5), part.seen.percentile(0.99), part.seen.percentile(0.999), part.seen.slowest_us,
            part.misses, part.longest, state.get("thermal", {}).get("hottest_c"),
            max(state.get("clock", {}).get("now_mhz", {}).values(), default=None),
        )  # fmt: skip
        self.stretches.append(stretch)
        if say:
            say(told(stretch))

    def figures(self, device: str, jitter_budget_us: float | None) -> dict[str, Figure]:
        """soak_p50_us … soak_worst_us, misses, longest run of them, jitter, drift and the highest temperature."""
        n = self.periods
        found = self.whole.figures("soak", device, f"from the release of the period to the action, over {self.measured_s:,.0f} s")

        def figure(value: float | None, unit: str, samples: int, note: str = "") -> Figure:
            return Figure(value, unit, "measured", samples=samples, device=device, note=note)

        rested = f"{self.rested:,} periods passed while results were kept, and are not counted" if self.rested else ""
        found["soak_misses"] = figure(float(self.misses), "periods", n, rested)
        found["soak_longest_miss_run"] = figure(float(self.longest_miss_run), "periods", n)
        budget = f"; the target's budget is {jitter_budget_us:g} us" if jitter_budget_us else ""
        found["soak_jitter_us"] = figure(
            self.jitter_ns / 1e3, "us", n, "largest deviation of an interval from the period" + budget
        )
        medians = np.array([each.p50_us for each in self.stretches if each.p50_us is not None])
        half = len(medians) // 2
        if half >= 4:  # rank sums of fewer than four and four are never certain
            drift = compare(medians[:half], medians[half:])
            note = f"medians of the second half of {len(medians)} stretches against the first; p = {drift.p:.2g}: "
            note += "as good as none" if drift.steady else "the latency changed"
            found["soak_drift"] = figure(100 * drift.shift, "%", len(medians), note)
        hottest = [each.hottest_c for each in self.stretches if each.hottest_c is not None]
        if hottest:
            note = f"from {hottest[0]:.1f} at the end of the first stretch to {hottest[-1]:.1f} at the end"
            found["soak_hottest_c"] = figure(max(hottest), "degrees Celsius", len(hottest), note)
        return found


class _Part:
    """What a stretch has gathered so far."""

    def __init__(self, first: int, seen: Streaming, unfinished: int = 0) -> None:
        self.first, self.seen, self.unfinished = first, seen, unfinished
        self.periods = self.misses = self.longest = 0

    def add(self, response_ns: np.ndarray, missed: np.ndarray) -> None:
        """A block; a run of misses may go on from the block before, or the stretch before: ``unfinished`` of its periods."""
        self.seen.add(response_ns / 1e3)
        self.periods += len(missed)
        self.misses += int(missed.sum())
        edges = np.flatnonzero(np.diff(np.concatenate([[0], missed.astype(np.int8), [0]])))
        runs = edges[1::2] - edges[::2]
        if len(runs) and missed[0]:
            runs[0] += self.unfinished
        self.longest = max(self.longest, int(runs.max(initial=0)))
        self.unfinished = int(runs[-1]) if len(runs) and missed[-1] else 0


def told(stretch: Stretch) -> str:
    """One line for people."""
    at = time.strftime("%H:%M:%S", time.gmtime(stretch.start_s))
    shown = [f"{name} {value:,.1f} us" for name, value in (("p50", stretch.p50_us), ("p99", stretch.p99_us)) if value is not None]
    shown += [f"worst {stretch.worst_us:,.1f} us", f"misses {stretch.misses:,}"]
    if stretch.hottest_c is not None:
        shown.append(f"{stretch.hottest_c:.1f} C")
    if stretch.mhz is not None:
        shown.append(f"{stretch.mhz:,.0f} MHz")
    return f"{at}  " + "  ".join(shown)
