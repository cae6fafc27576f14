"""The whole way over SSH: install, verify, bench and fly, by a Python there."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from pilotfish.errors import Unreachable, Untrusted
from pilotfish.runtime import remote
from pilotfish.runtime.artifact import Artifact
from pilotfish.runtime.bench import bench
from pilotfish.runtime.evaluate import evaluate
from pilotfish.runtime.open import open_session
from pilotfish.runtime.trust import remember
from pilotfish.runtime.verify import verify
from pilotfish.targets.reach import parse_link


@pytest.fixture
def there(devices, artifact, monkeypatch):
    """``there(device)`` -> the artifact on one of the devices; connections end with the test."""
    remember(artifact)
    yield lambda device="python", **query: artifact.reached_by(parse_link(devices.url(device, **query)))
    remote.hang_up()


def test_the_whole_flow_over_ssh_with_a_python_there(there, devices, artifact):
    told: list[tuple[int, int]] = []
    parity = verify(there(), progress=lambda *numbers: told.append(numbers))
    assert parity["passed"] and told[-1][0] == told[-1][1]
    latency = bench(there(), calls=500, paced_seconds=0.2)
    assert latency["figures"]["tight_p50_us"]["source"] == "measured" and latency["figures"]["paced_misses"]["samples"] == 10
    for name, result in (("verify", parity), ("bench", latency)):
        assert result["device"]["link"].startswith("ssh://") and result["device"]["machine"].endswith("-linux")
        assert artifact.result(name) == {"artifact": artifact.digest} | result  # kept here, beside the artifact
        assert "key" not in json.dumps(result["device"])
    session = open_session(there())
    try:
        golden = artifact.golden
        for k in range(20):
            assert np.allclose(session.act(golden.obs[k]), golden.action[k], atol=1e-5)
        assert session.last_us > 0 and session.told()["decisions"] == 20
    finally:
        session.close()


def test_the_simulator_is_here_and_the_policy_there(there, artifact):
    pytest.importorskip("gymnasium")
    flown = evaluate(there(), episodes=1, seed=3)
    assert flown["link"]["decisions"] == flown["lengths"][0] == 200 and flown["link"]["recoveries"] == 0
    assert flown["link"]["round_trip_p50_us"] > flown["link"]["inside_p50_us"] > 0
    here = evaluate(artifact, episodes=1, seed=3)
    assert np.isclose(flown["returns"][0], here["returns"][0], rtol=1e-3)  # the same policy, the same seed
    assert flown["device"]["link"].startswith("ssh://") and "link" not in here


def test_code_that_was_not_built_here_runs_nowhere_unless_the_user_vouches(there, artifact, monkeypatch, tmp_path):
    monkeypatch.setenv("PILOTFISH_HOME", str(tmp_path))
    for step in (verify, open_session):
        with pytest.raises(Untrusted, match="It would run on ssh://"):
            step(there())


def test_what_comes_back_must_be_a_result(there, artifact, monkeypatch):
    reached = remote.reach(there())
    false = dataclasses.replace(
        reached,
        link=type(
            "Liar",
            (),
            {"name": "liar", "device": reached.link.device, "run": lambda *_: {"passed": True}, "close": reached.link.close},
        )(),
    )
    monkeypatch.setitem(remote._reached, next(iter(remote._reached)), false)
    with pytest.raises(Unreachable, match="no result of verify"):
        verify(there())
    assert isinstance(there(), Artifact)
