"""Law: a soak's memory does not grow with time, its numbers are those of its periods, an interrupt keeps what was measured."""

from __future__ import annotations

import numpy as np
import pytest

from pilotfish.errors import BadInput, Unsupported
from pilotfish.figure import Figure
from pilotfish.runtime import soak as soak_module
from pilotfish.runtime.measure.soak_run import STRETCHES, Soak
from pilotfish.runtime.soak import seconds_of, soak

MS = 1_000_000


class Simulated:
    """A clock that sleeps exactly; ``call(k)`` computes for ``delay(k)``, and keeping results takes ``rest`` nanoseconds."""

    def __init__(self, delay, rest: int = 0) -> None:
        self.time, self.delay, self.rest, self.calls = 1_000_000, delay, rest, 0

    def now_ns(self) -> int:
        return self.time

    def sleep_ns(self, duration: int) -> None:
        self.time += duration

    def call(self, k: int) -> None:
        self.calls += 1
        self.time += int(self.delay(k))

    def moment(self) -> dict:
        self.time += self.rest
        warm = 40 + 30 * (1 - np.exp(-self.calls / 20_000))
        return {"thermal": {"hottest_c": warm}, "clock": {"now_mhz": {"policy0": 1500.0, "policy4": 2000.0}}}


def run(world: Simulated, hz: float, seconds: float, **options) -> Soak:
    made = Soak(world.call, hz, seconds, moment=world.moment, clock=world, spin_ns=0)
    assert made.go(**options) is False
    return made


def test_an_hour_in_bounded_memory_with_a_drift_that_shows() -> None:
    world = Simulated(lambda k: 2 * MS * (1 + 0.3 * k / 72_000))
    lines: list[str] = []
    done = run(world, 20.0, 3600.0, say=lines.append)
    assert len(done.stretches) == STRETCHES == len(lines) and world.calls == 72_000 == done.periods
    assert done.misses == 0 == done.rested and done.measured_s == pytest.approx(3600)
    figures = done.figures("simulated", None)
    assert figures["soak_drift"].value == pytest.approx(100 * (0.225 - 0.075) / 1.075, abs=1.5)  # halves' medians
    assert "changed" in figures["soak_drift"].note and figures["soak_drift"].samples == STRETCHES
    assert figures["soak_hottest_c"].value == done.stretches[-1].hottest_c > done.stretches[0].hottest_c
    assert figures["soak_p50_us"].value == pytest.approx(2300, rel=0.011)
    assert done.stretches[0].mhz == 2000 and "C" in lines[0] and "p50 2," in lines[0]
    assert done.stretches[0].p99_us is None  # 300 periods do not support it


def test_a_steady_policy_does_not_drift() -> None:
    noise = np.random.default_rng(0)
    figures = run(Simulated(lambda _: MS * noise.lognormal(0, 0.1)), 100.0, 60.0).figures("simulated", None)
    assert "as good as none" in figures["soak_drift"].note


def test_misses_are_counted_over_the_ends_of_blocks() -> None:
    late = set(range(95, 106)) | {300}
    done = run(Simulated(lambda k: 12 * MS if k in late else MS), 100.0, 6.0)
    # Eleven calls of 1.2 periods: their lateness adds up, so that two observations in eleven are dropped, and it takes
    # the calls after them to catch up. All of it is one run of misses, although a block ends in its middle.
    assert done.longest_miss_run >= 11 and done.misses == done.longest_miss_run + 1
    assert sum(stretch.misses for stretch in done.stretches) == done.misses


def test_a_policy_slower_than_its_period_misses_always_and_is_not_excused() -> None:
    done = run(Simulated(lambda _: 14 * MS, rest=3 * MS), 100.0, 10.0)
    assert done.misses == done.periods >= 990 and done.longest_miss_run >= 100 and done.rested <= 10


def test_what_keeping_results_takes_is_neither_met_nor_missed() -> None:
    done = run(Simulated(lambda _: MS, rest=25 * MS), 100.0, 10.0)
    assert done.misses == 0 and 10 <= done.rested <= 30
    assert done.periods + done.rested == 1_000
    assert done.whole.slowest_us == pytest.approx(1000)
    assert "not counted" in done.figures("simulated", None)["soak_misses"].note


def test_an_interrupt_keeps_what_was_measured() -> None:
    def delay(k: int) -> int:
        if k == 250:
            raise KeyboardInterrupt
        return MS

    world = Simulated(delay)
    made = Soak(world.call, 100.0, 60.0, moment=world.moment, clock=world, spin_ns=0)
    assert made.go() is True
    assert made.periods == 200 and len(made.stretches) == 2 and made.measured_s == 2
    assert made.figures("simulated", None)["soak_worst_us"].samples == 200
    world = Simulated(lambda k: delay(250))
    with pytest.raises(KeyboardInterrupt):
        Soak(world.call, 100.0, 60.0, moment=world.moment, clock=world, spin_ns=0).go()


def test_a_soak_of_an_artifact_is_stored(build, policy_of) -> None:
    artifact = build(policy_of())
    seen: list[tuple[int, int]] = []
    data = soak(artifact, 1.0, control_hz=200, progress=lambda done, total: seen.append((done, total)))
    figures = {name: Figure(**figure) for name, figure in data["figures"].items()}
    assert data["interrupted"] is False and seen[-1] == (1, 1)
    assert figures["soak_p50_us"].samples + data["rested_periods"] == 200 and figures["soak_p50_us"].source == "measured"
    assert sum(data["histogram"]["counts"]) == figures["soak_p50_us"].samples
    assert data["deadline_met"] is (figures["soak_misses"].value == 0) and data["device_facts"]["cpu"]
    assert artifact.result("soak")["stretches"] == data["stretches"]


def test_senseless_soaks_are_refused(build, policy_of, monkeypatch: pytest.MonkeyPatch) -> None:
    assert [seconds_of(text) for text in ("90", "90s", "1.5m", "2h", " 10 min ")] == [90, 90, 90, 7200, 600]
    for wrong in ("", "soon", "-3m", "9d", "0.1s", "1000h", "1e9"):
        with pytest.raises(BadInput, match="soak"):
            seconds_of(wrong)
    monkeypatch.setattr(soak_module, "is_virtual", lambda _: True)
    with pytest.raises(Unsupported, match="virtual"):
        soak(build(policy_of()), 60.0)
