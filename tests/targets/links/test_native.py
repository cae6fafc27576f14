"""The whole way over SSH to devices without Python: the native runner, on this processor and on another one."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from pilotfish.errors import BadInput, MissingTool
from pilotfish.policy.guard import GuardTable
from pilotfish.policy.reference import Reference
from pilotfish.runtime import remote, wire_soak
from pilotfish.runtime.behind_guard import behind_guard
from pilotfish.runtime.bench import bench
from pilotfish.runtime.evaluate import evaluate
from pilotfish.runtime.guarded_session import GuardedSession
from pilotfish.runtime.open import open_session
from pilotfish.runtime.soak import soak
from pilotfish.runtime.trust import remember
from pilotfish.runtime.verify import verify
from pilotfish.targets.reach import parse_link


@pytest.fixture
def there(devices, native):
    """``there(device)`` -> an artifact for that device, on it; connections end with the test."""

    def make(device, build=None, guard=None):
        artifact = native(build or device, guard)
        remember(artifact)
        return artifact.reached_by(parse_link(devices.url(device)))

    yield make
    remote.hang_up()


@pytest.fixture(params=["bare", "aarch64"])
def device(request):
    if request.param == "aarch64" and shutil.which("qemu-aarch64") is None:
        pytest.skip("qemu-aarch64 is not installed (qemu-user)")
    return request.param


def test_the_whole_flow_without_python(there, devices, device):
    parity = verify(there(device))
    assert parity["passed"] and parity["steps"] == 120 and parity["device"]["python"] is None
    assert parity["device"]["machine"] == (
        "aarch64-linux" if device == "aarch64" else remote.reach(there(device)).link.device().machine
    )
    latency = bench(there(device), calls=300, paced_seconds=0.2, control_hz=100, realtime=True)
    figures = latency["figures"]
    assert figures["tight_p50_us"]["samples"] == 300 and figures["paced_misses"]["samples"] == 20
    assert 0 < figures["tight_p50_us"]["value"] < figures["round_trip_p50_us"]["value"]
    assert "native runner" in latency["runner"] and "SCHED_FIFO" in latency["runner"]
    pytest.importorskip("gymnasium")
    flown = evaluate(there(device), episodes=1, seed=3)
    assert flown["link"]["decisions"] == 200 and flown["returns"] == pytest.approx(flown["reference_returns"], rel=1e-3)
    assert not (devices.cache(device) / "sites").exists() or not list((devices.cache(device) / "sites").iterdir())


GUARD = GuardTable((-2.0,) * 3, (2.0,) * 3, (-1.5,), (1.5,), (0.25,), (0.3,), stale_us=1000, hold_steps=2)
"""One action of a pendulum, within limits that it reaches."""


def test_the_whole_flow_of_a_guarded_policy_without_python(there, device):
    """The shell is in the runner: what is sent is its decision, and the counters are the ones there."""
    artifact = there(device, guard=GUARD)
    assert "runner" in artifact.manifest.sizes and "guard.c" in artifact.manifest.files
    assert verify(artifact)["passed"]  # of the policy itself
    figures = bench(artifact, calls=200, paced_seconds=0.1, control_hz=100)["figures"]
    assert figures["guarded_p50_us"]["samples"] == 200 and "through the guard" in figures["guarded_p50_us"]["note"]
    assert figures["guard_us"]["source"] == "measured" and figures["paced_misses"]["samples"] == 10
    session, mirror = behind_guard(open_session(artifact), artifact), GuardedSession(Reference(artifact.policy), GUARD)
    try:
        assert session.inner.guarded and not session.counters["steps"]
        for k, obs in enumerate(artifact.golden.obs[:80]):
            seen, age = (np.full(3, np.nan) if k % 9 == 3 else 3 * obs if k % 5 == 1 else obs), 5000 * (k % 13 == 4)
            np.testing.assert_allclose(session.act_at(seen, age), mirror.act_at(seen, age), rtol=0, atol=1e-6)
            assert session.last == mirror.last
        assert session.counters == mirror.counters and session.counters["rate_limited"] > 0
        assert session.inner.inside_us and session.inner.last_us > 0
    finally:
        session.close()
    pytest.importorskip("gymnasium")
    flown = evaluate(artifact, episodes=1, seed=3)
    assert flown["guard"]["steps"] == flown["link"]["decisions"] == 200
    assert flown["guard"]["obs_out_of_range"] > 0 and flown["guard"]["fell_back"] > 0


@pytest.mark.parametrize("guard", [None, GUARD])
def test_a_soak_without_python_paces_itself_there(there, monkeypatch, guard):
    monkeypatch.setattr(wire_soak, "BLOCK_SECONDS", 0.5)
    monkeypatch.setattr(wire_soak, "WARM_SECONDS", 0.1)
    artifact, seen, lines = there("bare", guard=guard), [], []
    data = soak(artifact, 2.0, control_hz=100, progress=lambda done, total: seen.append((done, total)), say=lines.append)
    figures = data["figures"]
    assert figures["soak_p50_us"]["samples"] + data["rested_periods"] == 200 and figures["soak_p50_us"]["value"] > 0
    assert ("through the guard" in figures["soak_p50_us"]["note"]) is (guard is not None)
    assert figures["soak_p50_us"]["source"] == "measured" and "native runner" in data["runner"]
    assert len(data["stretches"]) == len(lines) >= 3 and seen[-1] == (2, 2) and not data["interrupted"]
    assert data["warnings"] == [wire_soak.NOT_READ] and artifact.result("soak")["stretches"] == data["stretches"]


def test_a_soak_keeps_what_was_measured_when_its_connection_is_killed(there, devices, monkeypatch):
    monkeypatch.setattr(wire_soak, "BLOCK_SECONDS", 0.5)

    def progress(done, total):
        if done >= 1:
            devices.cut()

    data = soak(there("bare"), 60.0, control_hz=100, progress=progress)
    assert data["interrupted"] and 0.5 <= data["seconds"] < 20 and "ended early: ssh://" in data["warnings"][-1]


def test_a_guarded_episode_goes_on_when_its_connection_is_killed(there, devices):
    artifact = there("bare", guard=GUARD)
    session, mirror = behind_guard(open_session(artifact), artifact), GuardedSession(Reference(artifact.policy), GUARD)
    try:
        for k in range(24):
            if k == 12:
                assert devices.cut()
            obs = artifact.golden.obs[k]
            np.testing.assert_allclose(session.act(obs), mirror.act(obs), rtol=0, atol=1e-6)
        assert session.inner.recoveries == 1 and session.counters == mirror.counters
    finally:
        session.close()


def test_an_artifact_for_another_machine_is_not_even_carried(there, devices, native):
    with pytest.raises(BadInput, match=r"aarch64-linux, for which .* was built, found x86_64-linux.*compile.triple"):
        verify(there("bare", build="aarch64"))


def test_without_python_or_runner_it_says_what_to_do(devices, artifact):
    remember(artifact)
    with pytest.raises(MissingTool, match=r"no Python for Pilotfish .*no native runner.*export with the c back-end"):
        verify(artifact.reached_by(parse_link(devices.url("bare"))))
    remote.hang_up()


def test_an_episode_goes_on_when_its_connection_is_killed(there, devices, native):
    session = open_session(there("bare"))
    try:
        golden = native("bare").golden
        actions = []
        for k in range(12):
            if k == 6:
                assert devices.cut()
            actions.append(session.act(golden.obs[k]))
        assert np.allclose(actions, golden.action[:12], atol=1e-5) and session.recoveries == 1
    finally:
        session.close()
