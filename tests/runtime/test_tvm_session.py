"""Law: an artifact of the TVM back-end acts like the reference here and over its RPC, and is refused where it would crash."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from pilotfish.errors import BadInput, Unreachable, Untrusted
from pilotfish.policy.reference import Reference
from pilotfish.runtime.artifact import MANIFEST, Artifact
from pilotfish.runtime.open import open_session
from pilotfish.targets import host, load_target


@pytest.fixture
def tvm_artifact(keep, policy_of):
    """kind -> artifact of the tvm back-end for this machine."""
    pytest.importorskip("onnx")
    pytest.importorskip("tvm", reason="tvm is not installed")
    return lambda kind="mlp", **options: keep(policy_of(kind, **options), "tvm", load_target("host-cpu"))


def edited(artifact: Artifact, **changes) -> Artifact:
    manifest = dataclasses.replace(artifact.manifest, **changes)
    (artifact.path / "artifact.json").write_text(json.dumps(MANIFEST.dump_python(manifest, mode="json")))
    return Artifact.load(artifact.path)


@pytest.mark.parametrize("kind", ["mlp", "gru", "lstm", "int8"])
def test_parity_and_no_drift_over_episodes(tvm_artifact, kind: str) -> None:
    artifact = tvm_artifact(kind)
    session, reference, golden = open_session(artifact), Reference(artifact.policy), artifact.golden
    for t, obs in enumerate(golden.obs):
        if golden.start[t]:
            session.reset()
            reference.reset()
        np.testing.assert_allclose(session.act(obs), reference.act(obs), atol=1e-5)
        np.testing.assert_allclose(session.state, reference.state, atol=1e-5)
    session.close()


def test_discrete_actions_are_one_int64(tvm_artifact) -> None:
    artifact = tvm_artifact(discrete=True)
    session = open_session(artifact)
    actions = np.stack([session.act(obs) for obs in artifact.golden.obs])
    assert actions.dtype == np.int64 and np.array_equal(actions, artifact.golden.action)
    session.close()


def test_another_machine_or_cpu_is_refused_before_it_can_crash(tvm_artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    artifact = tvm_artifact()
    flags = artifact.manifest.tools["cpu_flags"]
    if host.machine() == "x86_64-linux":
        assert "pni" in flags.split()  # SSE3: LLVM's names have become the kernel's
    with monkeypatch.context() as patch:
        patch.setattr(host, "cpu_flags", lambda: frozenset({"fpu"}))
        wanted = edited(artifact, tools=artifact.manifest.tools | {"cpu_flags": "fpu warp_drive"})
        with pytest.raises(BadInput, match=r"no warp_drive.*--backend tvm"):
            open_session(wanted, trust=True)
    with pytest.raises(BadInput, match="pdp11-unix"):
        open_session(edited(artifact, machine="pdp11-unix"), trust=True)


def test_a_changed_library_is_refused(tvm_artifact) -> None:
    artifact = tvm_artifact()
    code = bytearray(artifact.entry.read_bytes())
    code[len(code) // 2] ^= 1
    artifact.entry.write_bytes(bytes(code))
    with pytest.raises(BadInput, match=r"policy\.so"):
        Artifact.load(artifact.path)
    with pytest.raises(BadInput, match="the file that was sealed"):
        open_session(artifact, trust=True)


@pytest.fixture(scope="module")
def server():
    """A TVM server in a process of its own, on this machine's loopback."""
    rpc = pytest.importorskip("tvm.rpc", reason="tvm is not installed")
    running = rpc.Server(host="127.0.0.1", port=9190, port_end=9390, silent=True)
    yield running
    running.terminate()


@pytest.mark.parametrize("kind", ["mlp", "lstm"])
def test_remote_procedure_calls_act_like_the_session(tvm_artifact, server, kind: str) -> None:
    from pilotfish.runtime.tvm_rpc import TvmRpcSession

    artifact = tvm_artifact(kind)
    here, there = open_session(artifact), TvmRpcSession(artifact, server.port)
    for obs in artifact.golden.obs[:20]:
        assert np.array_equal(here.act(obs), there.act(obs))
    assert np.array_equal(here.state, there.state)
    there.state = artifact.golden.state[7]
    assert np.array_equal(there.state, artifact.golden.state[7])
    assert (there.time_remote(calls=10, repeat=2) > 0).all()
    there.reset()
    assert not there.state.any()
    there.close()
    here.close()
    with pytest.raises(RuntimeError, match="closed"):
        there.act(artifact.golden.obs[0])


def test_remote_procedure_calls_need_trust_and_a_server(tvm_artifact, monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    from pilotfish.runtime.tvm_rpc import TvmRpcSession

    artifact = tvm_artifact()
    with pytest.raises(Unreachable, match=r"127\.0\.0\.1:9"):
        TvmRpcSession(artifact, 9)  # the discard port, where nobody listens
    monkeypatch.setenv("PILOTFISH_HOME", str(tmp_path / "somebody-else"))
    with pytest.raises(Untrusted):
        TvmRpcSession(artifact, 9)


@pytest.mark.parametrize("kind", ["mlp", "lstm", "int8"])
def test_a_broken_sensor_is_seen(tvm_artifact, kind: str) -> None:
    """NaN in the observation comes out as NaN, as in the reference; a new episode starts whole."""
    artifact = tvm_artifact(kind)
    session, obs = open_session(artifact), artifact.golden.obs[0]
    session.reset()
    wanted = session.act(obs)
    broken = obs.copy()
    broken[1] = np.nan
    assert np.isnan(session.act(broken)).all() and np.isnan(session.state).all()
    session.reset()
    assert np.array_equal(session.act(obs), wanted)
    session.close()
