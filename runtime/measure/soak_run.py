"""The loop of a soak: paced in blocks of a second against one grid of absolute deadlines, in memory that does not grow.

What is read and kept between two blocks takes time, too: periods whose release passes meanwhile are left out and counted as
``rested``; they are neither met nor missed.
"""

from __future__ import annotations

import gc
import math
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np

from ...errors import Unreachable
from ...figure import Figure
from ..place import Progress
from .pace import SPIN_NS, Clock, MonotonicClock, pace
from .stationary import compare
from .streaming import Streaming
from .stretch import Part, Stretch, told

STRETCHES = 240
BLOCK_SECONDS = 1.0
"""Ctrl-C loses no more than the block that is under way."""
CATCH_UP = 16
"""Periods that a block is prolonged by while the policy is behind."""


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
        block_seconds: float = BLOCK_SECONDS,
    ) -> None:
        self.call, self.hz, self.seconds, self.moment, self.block_seconds = call, hz, seconds, moment, block_seconds
        self.lost = ""
        """Why the device was lost before the end; empty: it was not."""
        self.clock, self.spin_ns = clock or MonotonicClock(), spin_ns
        self.whole, self.stretches = Streaming(), list[Stretch]()
        self.misses = self.longest_miss_run = self.rested = self.jitter_ns = self.periods = 0
        self.measured_s = 0.0

    def go(self, progress: Progress | None = None, say: Callable[[str], object] | None = None) -> bool:
        """Run to the end -> False, or until an interrupt, or the loss of a device -> True.

        Raises KeyboardInterrupt or Unreachable if that comes before the first block ends.
        """
        total = max(1, round(self.hz * self.seconds))
        block = max(1, min(round(self.hz * self.block_seconds), total))
        per_stretch = max(block, math.ceil(total / STRETCHES))
        self._origin, first = self.clock.now_ns() + max(self.spin_ns, 1000), 0
        part = Part(0, Streaming())
        try:
            while first < total:
                first = self._block(part, first, block, total)
                ended = self.clock.now_ns()
                if part.periods >= per_stretch or first >= total:
                    self._close(part, say)
                    part = Part(first, Streaming(), part.unfinished)
                if progress:
                    progress(min(round(first / self.hz), round(self.seconds)), round(self.seconds))
                first = self._rest(part, first, total, ended)
        except (KeyboardInterrupt, Unreachable) as end:
            if part.periods:
                self._close(part, say)
            if not self.stretches:
                raise
            self.lost = str(end) if isinstance(end, Unreachable) else ""
            return True
        return False

    def _block(self, part: Part, first: int, count: int, total: int) -> int:
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

    def _rest(self, part: Part, first: int, total: int, ended_ns: int) -> int:
        """The first period that can still be waited for; those whose release passed since the block ended are left out."""
        if first >= total or self.clock.now_ns() <= self._release(first) or ended_ns > self._release(first) + 1e9 / self.hz:
            return first
        coming = min(total, math.ceil((self.clock.now_ns() - self._origin) * self.hz / 1e9))
        self.rested += coming - first
        part.unfinished = 0  # what follows is not in a row with what was
        if not part.periods:
            part.first = coming
        return coming

    def _close(self, part: Part, say: Callable[[str], object] | None) -> None:
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

    def fields(self) -> dict[str, Any]:
        """What a stored result says of the run besides its figures, as JSON."""
        return {
            "deadline_met": self.misses == 0, "seconds": self.measured_s, "rested_periods": self.rested,
            "stretches": [asdict(stretch) for stretch in self.stretches], "histogram": self.whole.table(),
        }  # fmt: skip

    def figures(self, device: str, jitter_budget_us: float | None, way: str = "") -> dict[str, Figure]:
        """soak_p50_us … soak_worst_us, misses, longest run of them, jitter, drift and the highest temperature.

        ``way``: what a note says of the calls, such as that a guard is in them.
        """
        n = self.periods
        what = f"from the release of the period to the action, over {self.measured_s:,.0f} s" + (f"; {way}" if way else "")
        found = self.whole.figures("soak", device, what)

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
