"""Law: a TensorRT session acts like the plain reference, and refuses every engine that is not for this GPU.

No GPU is needed: tests/standins plays driver and TensorRT, so what is tested is everything between artifact and them (the
calls, their order, addresses, graphs, state). The arithmetic of a real engine is not.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pilotfish.cli import main
from pilotfish.errors import BadInput, MissingTool, Unreachable, Untrusted
from pilotfish.export.build import export_policy
from pilotfish.policy.reference import Reference
from pilotfish.runtime import cuda_driver, tensorrt_engine, tensorrt_session, trust
from pilotfish.runtime.artifact import Artifact
from pilotfish.runtime.bench import bench
from pilotfish.runtime.open import open_session
from pilotfish.runtime.session import Session
from pilotfish.runtime.verify import verify
from pilotfish.targets import host, load_target
from pilotfish.targets.profile import Target

KINDS = ["mlp", "gru", "lstm", "int8"]


def target_here(**settings) -> Target:
    """An Orin whose processor is this machine's."""
    orin = load_target("jetson-orin-nano")
    assert orin.tensorrt is not None
    return replace(orin, tensorrt=replace(orin.tensorrt, **({"host": host.machine().partition("-")[0]} | settings)))


@pytest.fixture
def engine_of(standin_gpu: ctypes.CDLL, tmp_path: Path) -> Callable[..., Artifact]:
    def make(policy, **settings) -> Artifact:
        return export_policy(policy, target_here(**settings), output=tmp_path / "dist")

    return make


@pytest.mark.parametrize("settings", [{"transfers": "copy"}, {"transfers": "mapped"}, {"cuda_graph": False}], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_parity_and_whole_episodes_on_its_own_state(engine_of, policy_of, kind: str, settings: dict) -> None:
    policy = policy_of(kind)
    artifact = engine_of(policy, **settings)
    assert verify(artifact)["passed"]
    session, reference = open_session(artifact), Reference(policy)
    assert isinstance(session, Session)
    for _ in range(2):
        session.reset()
        reference.reset()
        for obs in policy.golden.obs[:41]:
            action = session.act(obs)
            assert action.dtype == np.float32 and action.shape == (3,)
            np.testing.assert_allclose(action, reference.act(obs), atol=2e-6 if kind != "int8" else 2e-2)
            np.testing.assert_allclose(session.state, reference.state, atol=2e-6)
    session.close()


def test_discrete_actions_are_one_int64(engine_of, policy_of) -> None:
    policy = policy_of(discrete=True)
    session = open_session(engine_of(policy))
    actions = [session.act(obs) for obs in policy.golden.obs]
    assert all(a.dtype == np.int64 and a.shape == (1,) for a in actions)
    assert np.array_equal(np.stack(actions), policy.golden.action)
    session.close()


def test_state_can_be_set_between_any_two_decisions(engine_of, policy_of) -> None:
    """The state lies in one of two buffers by turns: setting it must hit the one that the next decision reads."""
    policy = policy_of("lstm")
    session = open_session(engine_of(policy))
    state = np.linspace(-0.5, 0.5, 24, dtype=np.float32)
    runs = []
    for turns in (0, 1, 2, 3):
        for obs in policy.golden.obs[:turns]:
            session.act(obs)
        session.state = state
        runs.append([session.act(obs) for obs in policy.golden.obs[:3]])
    assert all(np.array_equal(runs[0], run) for run in runs[1:]) and not np.array_equal(runs[0][0], runs[0][1])
    with pytest.raises(BadInput, match=r"cell_h\[12\], cell_c\[12\]"):
        session.state = np.zeros(23)
    session.close()


@pytest.mark.parametrize("graph", [True, False])
def test_nothing_is_allocated_per_decision_and_nothing_is_left_behind(engine_of, policy_of, standin_gpu, graph: bool) -> None:
    count = {name: ctypes.c_int.in_dll(standin_gpu, f"standin_{name}") for name in ("live", "allocations", "launches")}
    policy = policy_of("gru")
    artifact = engine_of(policy, cuda_graph=graph)
    before = count["live"].value
    session = open_session(artifact)
    allocations, launches = count["allocations"].value, count["launches"].value
    for obs in policy.golden.obs:
        session.act(obs)
    assert count["allocations"].value == allocations
    assert count["launches"].value - launches == (len(policy.golden) if graph else 0)
    assert (session.gpu_us(20) > 0).all() and not session.state.any()
    session.close()
    session.close()
    assert count["live"].value == before
    with pytest.raises(RuntimeError, match="closed"):
        session.act(policy.golden.obs[0])


def test_an_engine_that_cannot_be_recorded_runs_without_a_graph_and_says_so(engine_of, policy_of, monkeypatch) -> None:
    monkeypatch.setenv("STANDIN_NO_GRAPHS", "1")
    artifact = engine_of(policy_of("lstm"))
    session = open_session(artifact)
    assert "no CUDA graph: cuStreamBeginCapture_v2 failed: operation not permitted" in session.how
    session.close()
    assert verify(artifact)["passed"]


def test_an_engine_that_refuses_to_run_leaves_nothing_behind(engine_of, policy_of, standin_gpu, monkeypatch) -> None:
    artifact, live = engine_of(policy_of("gru")), ctypes.c_int.in_dll(standin_gpu, "standin_live")
    before = live.value
    monkeypatch.setenv("STANDIN_REFUSES", "1")
    with pytest.raises(BadInput, match="did not accept the decision"):
        open_session(artifact)
    assert live.value == before


def test_bench_reports_host_to_host_and_the_gpu_alone(engine_of, policy_of) -> None:
    result = bench(engine_of(policy_of("gru")), calls=200, paced_seconds=0.05, control_hz=100)
    figures = result["figures"]
    assert figures["gpu_p50_us"]["value"] > 0 and figures["tight_p50_us"]["value"] > 0
    assert "transfers included" in figures["gpu_p50_us"]["note"]
    assert result["device"]["gpu"] == "Stand-in" and figures["gpu_p50_us"]["device"].startswith("Stand-in beside ")


def test_what_was_compiled_on_loading_is_kept_for_the_next_time(engine_of, policy_of, monkeypatch) -> None:
    """TensorRT-RTX builds for a GPU that is not here, and compiles its kernels where it is: once."""
    import tensorrt_rtx

    policy = policy_of("gru")
    artifact = engine_of(policy, flavours=("tensorrt_rtx",), compute_capability="8.9")
    assert artifact.manifest.tools["builder"] == "tensorrt_rtx 1.7.1" and not (artifact.path / "timing.cache").exists()
    with pytest.raises(BadInput, match=r"one for 8\.9"):
        open_session(artifact)
    monkeypatch.setenv("STANDIN_CAPABILITY", "8.9")
    assert verify(artifact)["passed"]
    assert verify(artifact)["passed"] and len(tensorrt_rtx.compiled) == 1
    (kept,) = (trust.state_folder() / "tensorrt").glob("*.kernels")
    kept.chmod(0o666)  # anybody could have put code there
    assert verify(artifact)["passed"] and len(tensorrt_rtx.compiled) == 2
    kept.write_bytes(b"of another version")
    kept.chmod(0o644)
    assert verify(artifact)["passed"] and len(tensorrt_rtx.compiled) == 3
    assert verify(artifact)["passed"] and len(tensorrt_rtx.compiled) == 3, "what could not be used was not replaced"


def test_another_gpu_is_refused_before_anything_is_loaded(engine_of, policy_of, monkeypatch) -> None:
    artifact = engine_of(policy_of())
    monkeypatch.setenv("STANDIN_CAPABILITY", "8.9")
    monkeypatch.setattr(tensorrt_session, "load_flavour", lambda _: pytest.fail("TensorRT was loaded"))
    with pytest.raises(BadInput, match=r"Stand-in \(8\.9\), found one for 8\.7"):
        open_session(artifact)
    monkeypatch.setattr(host, "machine", lambda: "riscv64-linux")
    with pytest.raises(BadInput, match="an engine for riscv64-linux"):
        open_session(artifact)


def test_a_changed_engine_is_refused(engine_of, policy_of) -> None:
    artifact = engine_of(policy_of())
    plan = bytearray(artifact.entry.read_bytes())
    plan[-40] ^= 1
    artifact.entry.write_bytes(plan)
    with pytest.raises(BadInput, match="sealed"):
        open_session(artifact)
    with pytest.raises(BadInput, match=r"policy\.engine.*sha256"):
        Artifact.load(artifact.path)


def test_engines_from_elsewhere_ask_for_trust(engine_of, policy_of, monkeypatch, tmp_path) -> None:
    artifact = engine_of(policy_of())
    monkeypatch.setattr(trust, "is_trusted", lambda _: False)
    with pytest.raises(Untrusted, match=r"policy\.engine"):
        open_session(artifact)
    open_session(artifact, trust=True).close()


def test_what_is_missing_is_named(engine_of, policy_of, monkeypatch, capsys) -> None:
    artifact = engine_of(policy_of())
    with monkeypatch.context() as patch:
        patch.setattr(tensorrt_engine, "MODULES", {"tensorrt": ("tensorrt_that_nobody_has",)})
        with pytest.raises(MissingTool, match="tensorrt is not installed"):
            open_session(artifact)
    with monkeypatch.context() as patch:
        patch.setenv("STANDIN_NO_DEVICE", "1")
        with pytest.raises(MissingTool, match=r"compute capability 8\.7: the NVIDIA driver knows 0 device"):
            open_session(artifact)
    monkeypatch.setattr(cuda_driver, "LIBRARIES", ("libcuda.that.nobody.has",))
    with pytest.raises(MissingTool, match="no NVIDIA driver on this machine"):
        open_session(artifact)
    assert main(["bench", str(artifact.path)]) == 3
    assert "no NVIDIA driver" in capsys.readouterr().err


def test_another_version_of_tensorrt_is_refused(engine_of, policy_of, monkeypatch) -> None:
    artifact = engine_of(policy_of())
    import tensorrt

    monkeypatch.setattr(tensorrt, "__version__", "10.7.0")
    with pytest.raises(BadInput, match=r"tensorrt 10\.3\.0, which built it, found 10\.7\.0"):
        open_session(artifact)


def test_a_kit_is_not_run_here(standin_gpu, policy_of, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("STANDIN_CAPABILITY", "8.9")
    artifact = export_policy(policy_of(), target_here(), output=tmp_path)
    assert "builds for Stand-in (8.9), not for 8.7" in artifact.manifest.tools["kit"]
    with pytest.raises(Unreachable, match=r"python3 kit\.py"):
        open_session(artifact)
    assert main(["bench", str(artifact.path)]) == 3
