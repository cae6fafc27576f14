"""Law: the provider that a target asks for runs, or nothing does; an optimized graph is only opened by its maker."""

import dataclasses
import sys
import types

import numpy as np
import pytest

pytest.importorskip("onnxruntime")
pytest.importorskip("onnx")

import onnxruntime as ort

from pilotfish.errors import BadInput, MissingTool, Unreachable
from pilotfish.policy.reference import Reference
from pilotfish.runtime import onnxruntime_provider
from pilotfish.runtime.onnxruntime_session import OPTIMIZED
from pilotfish.runtime.open import open_session
from pilotfish.targets import load_target
from pilotfish.targets.onnxruntime import PROVIDERS, OnnxRuntime


def target_with(provider):
    return dataclasses.replace(load_target("host-cpu"), name=f"host-{provider}", onnxruntime=OnnxRuntime(provider))


@pytest.mark.parametrize("provider", [name for name in PROVIDERS if name != "cpu"])
def test_an_absent_provider_is_refused_by_name(build, policy_of, provider):
    if PROVIDERS[provider] in ort.get_available_providers() or "onnxruntime_ep_nv_tensorrt_rtx" in sys.modules:
        pytest.skip(f"{PROVIDERS[provider]} is installed")
    artifact = build(policy_of(), "onnxruntime", target=target_with(provider))
    assert OPTIMIZED not in artifact.manifest.files
    with pytest.raises(MissingTool, match=PROVIDERS[provider]) as caught:
        open_session(artifact)
    assert caught.value.exit_code == 3


def test_a_provider_that_gives_way_to_the_processor_is_refused(build, policy_of, monkeypatch):
    """ONNX Runtime goes on with the processor when CUDA's libraries do not load: here one that says it has CUDA."""
    artifact = build(policy_of(), "onnxruntime", target=target_with("cuda"))
    real = ort.InferenceSession
    monkeypatch.setattr(ort, "get_available_providers", lambda: ["CUDAExecutionProvider", "CPUExecutionProvider"])

    def on_the_processor(graph, options, providers):
        assert providers == ["CUDAExecutionProvider"]
        return real(graph, ort.SessionOptions(), providers=["CPUExecutionProvider"])

    monkeypatch.setattr(ort, "InferenceSession", on_the_processor)
    with pytest.raises(Unreachable, match="CUDAExecutionProvider did not start") as caught:
        open_session(artifact)
    assert caught.value.exit_code == 3


def test_a_plugin_without_a_gpu_is_refused(build, policy_of, monkeypatch):
    artifact = build(policy_of(), "onnxruntime", target=target_with("nv_tensorrt_rtx"))
    plugin = types.ModuleType("onnxruntime_ep_nv_tensorrt_rtx")
    plugin.get_library_path = lambda: "nowhere.so"
    monkeypatch.setitem(sys.modules, plugin.__name__, plugin)
    with pytest.raises(Unreachable, match="does not load"):
        open_session(artifact)
    monkeypatch.setattr(ort, "register_execution_provider_library", lambda *_: None)
    with pytest.raises(Unreachable, match="no NVIDIA GPU"):
        open_session(artifact)


@pytest.mark.parametrize("kind", ["mlp", "gru", "lstm"])
def test_the_optimized_graph_acts_the_same(build, policy_of, kind, monkeypatch):
    policy = policy_of(kind)
    artifact = build(policy, "onnxruntime")
    assert artifact.manifest.tools["onnxruntime"] == ort.__version__
    opened = []
    real = onnxruntime_provider.open_graph
    monkeypatch.setattr(
        "pilotfish.runtime.onnxruntime_session.open_graph",
        lambda graph, provider, path, optimized: (opened.append((path.name, optimized)), real(graph, provider, path))[1],
    )
    rows = {}
    for version in (ort.__version__, "1.0.0"):  # another version gets the plain graph
        monkeypatch.setattr(ort, "__version__", version)
        session, reference = open_session(artifact), Reference(policy)
        rows[version] = np.array([session.act(obs) for obs in policy.golden.obs[:30]])
        np.testing.assert_allclose(rows[version], [reference.act(obs) for obs in policy.golden.obs[:30]], atol=2e-6)
        session.close()
    assert opened == [(OPTIMIZED, True), ("policy.onnx", False)]


def test_the_same_policy_is_optimized_to_the_same_bytes(build, policy_of):
    policy = policy_of("gru")
    first = build(policy, "onnxruntime").manifest.files
    assert build(policy, "onnxruntime").manifest.files == first


def test_a_tampered_optimized_graph_is_refused(build, policy_of):
    artifact = build(policy_of(), "onnxruntime")
    path = artifact.path / OPTIMIZED
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(BadInput, match="sealed"):
        open_session(artifact)
