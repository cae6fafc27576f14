"""Law: every back-end keeps the same five promises: parity, no drift, and in words: wrong machine, damage, what is missing.

TensorRT is played by tests/standins: calls, buffers and state are tested, a real engine's arithmetic is not.
"""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pilotfish.errors import BadInput, MissingTool, PilotfishError
from pilotfish.export.build import export_policy
from pilotfish.policy.bundle import Policy
from pilotfish.policy.reference import Reference
from pilotfish.runtime import cuda_driver
from pilotfish.runtime.artifact import MANIFEST, Artifact
from pilotfish.runtime.onnxruntime_session import OPTIMIZED
from pilotfish.runtime.open import open_session
from pilotfish.runtime.verify import verify
from pilotfish.targets import host, load_target
from pilotfish.targets.onnxruntime import OnnxRuntime
from pilotfish.targets.profile import Target

BACKENDS = ("onnxruntime", "c", "c on a virtual board", "tvm", "tensorrt")
DRIFT_STEPS, BOARD_STEPS = 1000, 150
BOUND = 1e-5
"""Of an action of size 1, float32 against float64, after a thousand decisions on its own state."""


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """Its name; skips, naming what is missing."""
    needs = {"onnxruntime": ["onnxruntime"], "c on a virtual board": ["unicorn", "elftools", "ziglang"], "tvm": ["tvm"]}
    for package in ["onnx", *needs.get(request.param, [])]:
        pytest.importorskip(package, reason=f"{package} is not installed")
    if request.param == "tensorrt":
        request.getfixturevalue("standin_gpu")
    return str(request.param)


def target_of(backend: str) -> Target:
    if backend == "c on a virtual board":
        return load_target("crazyflie")
    if backend != "tensorrt":
        return load_target("host-cpu")
    orin = load_target("jetson-orin-nano")  # what the stand-in is, beside this machine's processor
    assert orin.tensorrt is not None
    return dataclasses.replace(orin, tensorrt=dataclasses.replace(orin.tensorrt, host=host.machine().partition("-")[0]))


@pytest.fixture
def built(backend: str, keep: Callable[..., Artifact]) -> Callable[..., Artifact]:
    def make(policy: Policy, target: Target | None = None) -> Artifact:
        return keep(policy, backend.partition(" ")[0], target or target_of(backend))

    return make


@pytest.mark.parametrize("kind", ["mlp", "gru", "lstm"])
def test_parity(built, policy_of, kind: str) -> None:
    artifact = built(policy_of(kind))
    found = verify(artifact)
    assert found["passed"] and found["figures"]["max_abs_error"]["value"] <= BOUND


@pytest.mark.parametrize("kind", ["gru", "lstm"])
def test_no_drift_over_a_long_episode(backend: str, built, policy_of, kind: str) -> None:
    policy = policy_of(kind)
    session, reference = open_session(built(policy)), Reference(policy, np.float64)
    steps = BOARD_STEPS if "board" in backend else DRIFT_STEPS
    obs = np.random.default_rng(5).normal(size=(steps, policy.contract.observation.size)).astype(np.float32)
    errors = [float(np.abs(session.act(row) - reference.act(row)).max()) for row in obs]
    session.close()
    assert max(errors) <= BOUND
    assert max(errors[-steps // 4 :]) <= 4 * max(errors[: steps // 4]) + 1e-6


def test_a_wrong_machine_is_refused(backend: str, built, policy_of, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the artifact is portable, the machine is what its target promises and this one lacks."""
    policy = policy_of()
    if backend == "onnxruntime":
        target = dataclasses.replace(target_of(backend), onnxruntime=OnnxRuntime("tensorrt"))
        with pytest.raises(PilotfishError, match="TensorrtExecutionProvider"):
            open_session(built(policy, target))
        return
    artifact = built(policy)
    if backend == "c on a virtual board":  # the image asks for memory that another board does not have
        other = dataclasses.replace(artifact.manifest.target, memory=load_target("rp2040").memory)
        changes = {"target": other}
    else:
        changes = {"machine": "pdp11-unix"}
    manifest = dataclasses.replace(artifact.manifest, **changes)
    (artifact.path / "artifact.json").write_text(json.dumps(MANIFEST.dump_python(manifest, mode="json")))
    with pytest.raises(PilotfishError, match="pdp11-unix" if "machine" in changes else "RAM|flash|memory|address"):
        open_session(Artifact.load(artifact.path), trust=True).act(policy.golden.obs[0])


@pytest.mark.parametrize("where", ["start", "middle", "end", "cut"])
def test_a_damaged_artifact_is_refused(backend: str, built, policy_of, where: str) -> None:
    artifact = built(policy_of())
    path = artifact.path / OPTIMIZED if backend == "onnxruntime" else artifact.entry
    data = bytearray(path.read_bytes())
    if where == "cut":
        del data[len(data) // 2 :]
    else:
        data[{"start": 0, "middle": len(data) // 2, "end": -1}[where]] ^= 1
    path.write_bytes(data)
    with pytest.raises(BadInput, match=path.name):
        Artifact.load(artifact.path)
    with pytest.raises(BadInput, match=path.name):  # also where it was loaded before
        open_session(artifact, trust=True)


def test_what_is_missing_is_named(backend: str, built, policy_of, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    policy = policy_of()
    if backend in ("c", "tvm"):  # what they build needs nothing to run
        monkeypatch.setenv("PATH", "")
        for package in ("ziglang", "tvm"):
            monkeypatch.setitem(sys.modules, package, None)
        with pytest.raises(MissingTool, match=r"compiler|ziglang|cc" if backend == "c" else r"pilotfish\[tvm\]") as caught:
            export_policy(policy, target_of(backend), backend, tmp_path / "dist")
    else:
        artifact = built(policy)
        if backend == "tensorrt":
            monkeypatch.setattr(cuda_driver, "LIBRARIES", ("libcuda-that-is-not-here.so.1",))
        else:
            monkeypatch.setitem(sys.modules, "onnxruntime" if backend == "onnxruntime" else "unicorn", None)
        words = {"onnxruntime": r"pilotfish\[ort\]", "tensorrt": "NVIDIA GPU"}.get(backend, r"pilotfish\[emulate\]")
        with pytest.raises(MissingTool, match=words) as caught:
            open_session(artifact, trust=True).act(policy.golden.obs[0])
    assert caught.value.exit_code == 3
