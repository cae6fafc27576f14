"""Law: what is paced and flown of a guarded artifact is the guarded decision, in C where its library holds the guard."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from pilotfish.errors import MissingTool
from pilotfish.export.build import export_policy
from pilotfish.figure import Figure
from pilotfish.policy.guard_table import guard_table
from pilotfish.policy.latency import Latency
from pilotfish.runtime import bench as bench_module
from pilotfish.runtime import guarded_c_session
from pilotfish.runtime.artifact import Artifact
from pilotfish.runtime.behind_guard import behind_guard, guard_of, way_of
from pilotfish.runtime.bench import bench
from pilotfish.runtime.c_session import CSession
from pilotfish.runtime.guarded_c_session import GuardedCSession
from pilotfish.runtime.guarded_session import GuardedSession
from pilotfish.runtime.open import open_session
from pilotfish.runtime.report.data import collect
from pilotfish.runtime.soak import soak
from pilotfish.targets import load_target

LONG_US = 3_600_000_000
SETTINGS = {
    "deadline_us": LONG_US,  # a busy machine's stalls are no late decisions here
    "observation": {"low": -3.0, "high": 3.0},
    "action": {"rate_per_s": 20.0},
    "fallback": {"hold_steps": 1},
}


@pytest.fixture
def guarded(policy_of, tmp_path):
    """``guarded(backend, target)`` -> an artifact with a guard, of a recurrent policy."""

    def make(backend: str, target: str = "host-cpu", kind: str = "gru", settings: dict = SETTINGS) -> Artifact:
        pytest.importorskip("onnx")
        if backend == "onnxruntime":
            pytest.importorskip("onnxruntime")
        policy = policy_of(kind, control_hz=100.0)
        table = guard_table(policy.contract, settings)
        try:
            return export_policy(policy, load_target(target), backend, tmp_path, guard=table)
        except MissingTool as error:
            pytest.skip(str(error))

    return make


def hostile(rows: int = 300) -> np.ndarray:
    """float32 [rows, 5]: a flight with a bad sensor."""
    generator = np.random.default_rng(6)
    obs = (1.2 * generator.normal(size=(rows, 5))).astype(np.float32)
    obs[generator.random((rows, 5)) < 0.02] = np.nan
    return obs


@pytest.mark.parametrize("judge", [False, True])
def test_the_guard_in_c_decides_as_the_mirror(guarded, judge: bool) -> None:
    artifact = guarded("c")
    in_c, inner = (behind_guard(open_session(artifact), artifact, judge_deadline=judge), open_session(artifact))
    assert isinstance(in_c, GuardedCSession)
    table = guard_table(artifact.manifest.contract, SETTINGS)
    mirror = GuardedSession(inner, table)
    out = np.empty(3, np.float32)
    try:
        for k, obs in enumerate(hostile()):
            if k == 120:
                in_c.reset()
                mirror.reset()
            expected = mirror.act(obs)
            if k % 3:
                out = in_c.act(obs)
            else:
                in_c.act_into(obs, out)
            assert out.tobytes() == expected.tobytes() and in_c.last == int(mirror.last)
            assert in_c.state.tobytes() == mirror.state.tobytes()
        assert in_c.late().tobytes() == mirror.late().tobytes()
        assert in_c.late(hostile(1)[0]).tobytes() == mirror.late(hostile(1)[0]).tobytes()
        assert in_c.counters == mirror.counters and in_c.counters["obs_not_finite"] >= 3 and in_c.counters["rate_limited"] >= 1
    finally:
        in_c.close()
        mirror.close()
    with pytest.raises(RuntimeError, match="closed"):
        in_c.act(hostile(1)[0])


def test_the_guard_in_c_judges_by_the_clock_of_this_process(guarded, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact, now = guarded("c"), itertools.count(0, (LONG_US + 1) * 1000)
    monkeypatch.setattr(guarded_c_session.time, "perf_counter_ns", lambda: next(now))
    session = behind_guard(open_session(artifact), artifact, judge_deadline=True)
    for obs in np.ones((5, 5), np.float32):
        assert session.act(obs).tobytes() == np.zeros(3, np.float32).tobytes()  # held, from the neutral action on
    assert session.counters["late"] == session.counters["fell_back"] == session.counters["steps"] == 5
    session.close()


def test_without_a_guard_nothing_stands_between(build, policy_of) -> None:
    artifact = build(policy_of(), "c")
    session = open_session(artifact)
    assert behind_guard(session, artifact) is session and guard_of(session) is None and way_of(session) == ""
    session.close()


@pytest.mark.parametrize(("backend", "kind"), [("c", GuardedCSession), ("onnxruntime", GuardedSession)])
def test_what_is_paced_is_the_guarded_decision(
    guarded, backend: str, kind: type, monkeypatch: pytest.MonkeyPatch, tmp_path
) -> None:
    artifact = guarded(backend)
    counted, timed, time_native = [], set(), CSession.time_native

    def watched(session, *arguments):
        counted.append(behind_guard(session, *arguments))
        return counted[-1]

    def noted(session, observations, calls, function="policy_time"):
        timed.add(function)
        return time_native(session, observations, calls, function)

    monkeypatch.setattr(bench_module, "behind_guard", watched)
    monkeypatch.setattr(CSession, "time_native", noted)
    data = bench(artifact, calls=300, paced_seconds=0.2, control_hz=500)
    (sent,) = counted
    assert isinstance(sent, kind)
    # Warm-up and pacing pass the guard; with the mirror, the loop that times it does, too.
    expected = data["warm_up"]["calls"] + 100 - data["figures"]["paced_misses"]["value"] + 300 * (kind is GuardedSession)
    assert expected <= sent.counters["steps"] <= expected + data["figures"]["paced_misses"]["value"]
    figures = {name: Figure(**figure) for name, figure in data["figures"].items()}
    through = "through the guard, both in C" if backend == "c" else "through the guard, which is in Python"
    assert "behind its guard" in collect([artifact], tmp_path)["artifacts"][0]["verdicts"]["in_time"]["sentence"]
    assert through in figures["paced_p50_us"].note and through in figures["paced_call_p50_us"].note
    assert "its guard left out" in figures["tight_p50_us"].note and "guard" not in figures["paced_jitter_us"].note
    # Which of the two is longer is for the clock to say: both may be a few of its ticks.
    assert timed == ({"policy_time", "policy_guard_time"} if backend == "c" else set())
    assert figures["guarded_p50_us"].samples == figures["tight_p50_us"].samples == figures["guard_us"].samples == 300
    assert data["notes"] == []


def test_a_soak_passes_the_guard(guarded) -> None:
    data = soak(guarded("c"), 1.0, control_hz=200)
    assert "through the guard, both in C" in data["figures"]["soak_p50_us"]["note"]


def test_a_virtual_board_is_judged_with_its_guard(guarded, tmp_path) -> None:
    pytest.importorskip("unicorn")
    artifact = guarded("c", "crazyflie", "mlp", {"action": {"rate_per_s": 20.0}})  # refuses no observation of the rollout
    data = bench(artifact, energy="auto")
    alone, guarded_us = data["figures"]["latency_us"], data["figures"]["guarded_latency_us"]
    assert alone["high"] < guarded_us["high"] and alone["value"] < guarded_us["value"] and guarded_us["source"] == "estimated"
    assert data["figures"]["guard_cycles"]["value"] / 168 == pytest.approx(guarded_us["value"] - alone["value"], rel=0.2)
    assert not any(name.startswith("energy") for name in data["figures"])
    assert data["notes"] == [bench_module.NO_ENERGY["virtual"]]  # asked for, not measured, and not passed over in silence
    between = 2e6 / (alone["high"] + guarded_us["high"])
    assert bench(artifact, control_hz=between)["deadline_met"] is False  # in time only without the guard
    assert "behind its guard" in collect([artifact], tmp_path)["artifacts"][0]["verdicts"]["in_time"]["sentence"]
    late = Latency.read(artifact.path)
    assert late.edges_us == (guarded_us["low"], guarded_us["high"])
