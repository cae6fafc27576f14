"""Law: every figure says where it comes from, no percentile without its sample, an interrupt loses nothing."""

import gc
import math
import os

import numpy as np
import pytest

from pilotfish.errors import BadInput
from pilotfish.figure import Figure
from pilotfish.runtime.bench import bench
from pilotfish.runtime.measure import tight

QUICK = {"calls": 1000, "paced_seconds": 0.1}


@pytest.mark.parametrize("backend", ["onnxruntime", "c"])
def test_a_real_machine(build, policy_of, backend: str) -> None:
    artifact = build(policy_of("lstm"), backend)
    seen = []
    data = bench(artifact, control_hz=500, **QUICK, progress=lambda done, total: seen.append((done, total)))
    figures = {name: Figure(**figure) for name, figure in data["figures"].items()}
    assert {f.source for f in figures.values()} == {"measured"} and all(f.device for f in figures.values())
    assert 0 < figures["tight_p50_us"].value <= figures["tight_p99_us"].value <= figures["tight_worst_us"].value
    assert figures["tight_p999_us"].value is None and "4,603" in figures["tight_p999_us"].note
    assert figures["tight_p50_us"].samples == 1000
    assert figures["paced_p50_us"].samples == 50 and figures["paced_p99_us"].value is None
    assert (
        figures["paced_jitter_p50_us"].value
        <= figures["paced_jitter_us"].value
        == max(figures["paced_jitter_us"].value, figures["paced_jitter_p50_us"].high)
    )
    assert figures["paced_jitter_p99_us"].value is None  # 49 intervals
    assert sum(data["jitter_histogram"]["counts"]) == figures["paced_jitter_us"].samples
    assert sum(int(length) * runs for length, runs in data["miss_runs"].items()) == figures["paced_misses"].value
    assert data["warm_up"]["calls"] >= 1 and data["paced_steady"]["steady"] in (True, False)
    assert data["conditions"] == [] and data["device_facts"]["cpu"]["cores"] >= 1
    assert data["warnings"][: len(data["device_facts"]["warnings"])] == data["device_facts"]["warnings"]
    assert 0 <= figures["paced_longest_miss_run"].value <= figures["paced_misses"].value <= 50
    assert data["deadline_met"] is (figures["paced_misses"].value == 0)
    assert (data["control_hz"], data["deadline_us"]) == (500, 2000)
    assert sum(data["histograms"]["tight"]["counts"]) == 1000 and sum(data["histograms"]["paced"]["counts"]) == 50
    assert figures["artifact_bytes"].value == artifact.entry.stat().st_size
    if backend == "c":  # timed inside the library: without what Python adds
        assert figures["tight_p50_us"].value < figures["call_p50_us"].value
    else:
        assert figures["tight_p50_us"].value == figures["call_p50_us"].value and "clock" in figures["tight_p50_us"].note
    assert seen[-1][0] == seen[-1][1] and gc.isenabled()
    assert artifact.result("bench")["figures"] == data["figures"]


def test_what_the_operating_system_granted_is_stored(build, policy_of) -> None:
    core = max(os.sched_getaffinity(0))
    data = bench(build(policy_of(), "c"), **QUICK, realtime=True, pin=core)
    assert [each["name"] for each in data["conditions"]] == ["pinning", "mlockall", "SCHED_FIFO"]
    assert data["conditions"][0]["granted"] and all(each["granted"] or each["note"] for each in data["conditions"])


def test_control_rate_comes_from_the_flag_then_the_policy_then_the_target(build, policy_of) -> None:
    assert bench(build(policy_of()), **QUICK)["control_hz"] == 50
    artifact = build(policy_of(control_hz=200.0))
    assert bench(artifact, **QUICK)["control_hz"] == 200
    assert bench(artifact, **QUICK, control_hz=400)["control_hz"] == 400
    for wrong in (0, -1, math.nan, math.inf, 1e9):
        with pytest.raises(BadInput, match=r"control_hz|paced_seconds"):
            bench(artifact, **QUICK, control_hz=wrong)


def test_senseless_amounts_are_refused(build, policy_of) -> None:
    artifact = build(policy_of())
    for wrong in ({"calls": 0}, {"calls": 10**12}, {"paced_seconds": -1.0}, {"paced_seconds": math.nan}, {"paced_seconds": 1e12}):
        with pytest.raises(BadInput, match=next(iter(wrong))):
            bench(artifact, **(QUICK | wrong))


def test_unpaced_is_not_judged(build, policy_of) -> None:
    data = bench(build(policy_of()), calls=100, paced_seconds=0)
    assert data["deadline_met"] is None and "paced_misses" not in data["figures"]


def test_a_slow_policy_gets_fewer_calls_and_says_so(build, policy_of, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tight, "MAX_TIGHT_SECONDS", 0.002)
    data = bench(build(policy_of()), calls=1_000_000, paced_seconds=0)
    assert 1 <= data["figures"]["tight_p50_us"]["samples"] < 100_000


def test_an_interrupt_leaves_the_earlier_result(build, policy_of) -> None:
    artifact = build(policy_of(), "c")
    earlier = bench(artifact, **QUICK)

    def interrupted(done: int, total: int) -> None:
        if done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        bench(artifact, **QUICK, progress=interrupted)
    assert artifact.result("bench")["date"] == earlier["date"] and gc.isenabled()
    assert artifact.result("bench")["figures"] == earlier["figures"]
    assert [path.name for path in (artifact.path / "results").iterdir()] == ["bench.json"]


def test_a_virtual_board(build, policy_of) -> None:
    from pilotfish.runtime.verify import verify

    artifact = build(policy_of("gru"), "c", "crazyflie")
    assert verify(artifact)["passed"]
    data = bench(artifact)
    figures = {name: Figure(**figure) for name, figure in data["figures"].items()}
    sources = {name: figure.source for name, figure in figures.items()}
    assert sources == {
        "instructions": "emulated",
        "cycles": "estimated",
        "memory_stall_cycles": "estimated",
        "latency_us": "estimated",
        "flash_bytes": "measured",
        "ram_bytes": "emulated",
        "stack_bytes": "emulated",
        "artifact_bytes": "measured",
    }
    cycles, latency = figures["cycles"], figures["latency_us"]
    assert cycles.low <= cycles.value <= cycles.high and cycles.samples == 16
    np.testing.assert_allclose(
        [latency.low, latency.value, latency.high], np.array([cycles.low, cycles.value, cycles.high]) / 168.0
    )
    assert cycles.low > figures["instructions"].value > 500
    assert data["control_hz"] == 500 and data["deadline_met"] is True and data["fits"] == {"flash": True, "ram": True}
    assert data["device"]["virtual_board"] == "crazyflie"
    assert bench(artifact, control_hz=100_000)["deadline_met"] is False
