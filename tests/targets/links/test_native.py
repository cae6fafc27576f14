"""The whole way over SSH to devices without Python: the native runner, on this processor and on another one."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from pilotfish.errors import BadInput, MissingTool
from pilotfish.runtime import remote
from pilotfish.runtime.bench import bench
from pilotfish.runtime.evaluate import evaluate
from pilotfish.runtime.open import open_session
from pilotfish.runtime.trust import remember
from pilotfish.runtime.verify import verify
from pilotfish.targets.reach import parse_link


@pytest.fixture
def there(devices, native):
    """``there(device)`` -> an artifact for that device, on it; connections end with the test."""

    def make(device, build=None):
        artifact = native(build or device)
        remember(artifact)
        return artifact.reached_by(parse_link(devices.url(device)))

    yield make
    remote.hang_up()


@pytest.mark.parametrize("device", ["bare", "aarch64"])
def test_the_whole_flow_without_python(there, devices, device):
    if device == "aarch64" and shutil.which("qemu-aarch64") is None:
        pytest.skip("qemu-aarch64 is not installed (qemu-user)")
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
