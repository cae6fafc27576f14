"""Laws of the kit: one command on the device builds, checks and times; it refuses what is wrong; it needs no Pilotfish.

The kit runs here as on a device, as a program of its own under a bare interpreter, with tests/standins for driver and TensorRT.
"""

from __future__ import annotations

import ast
import ctypes
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pilotfish.export.build import export_policy
from pilotfish.export.tensorrt import kit
from pilotfish.policy import Golden, Policy
from pilotfish.policy.cells import LSTM
from pilotfish.policy.grid import Quantize
from pilotfish.policy.layers import Activation, Linear
from pilotfish.policy.reference import Reference
from pilotfish.runtime.artifact import Artifact
from pilotfish.targets import load_target

STANDINS = Path(__file__).resolve().parents[1] / "standins"
SOURCES = ("kit.py", "tensorrt_compile.py", "tensorrt_engine.py", "cuda_driver.py")
LAYERS = {
    "mlp": (Linear("a", 8, 32), Activation("relu"), Linear("b", 32, 3)),
    "lstm": (LSTM("cell", 8, 16), Linear("b", 16, 3)),
    "int8": (Linear("a", 8, 32), Activation("relu"), Quantize(6 / 255, -128), Linear("b", 32, 3, weight_bits=8)),
}


def with_golden(policy: Policy, steps: int = 80, episode: int = 30) -> Policy:
    reference, generator = Reference(policy), np.random.default_rng(1)
    obs = generator.standard_normal((steps, policy.contract.observation.size)).astype(np.float32)
    start, states, actions = np.arange(steps) % episode == 0, [], []
    for t in range(steps):
        if start[t]:
            reference.reset()
        states.append(np.asarray(reference.state, np.float32))
        actions.append(reference.act(obs[t]))
    return policy.replace(golden=Golden(obs, np.stack(actions), np.stack(states), start, "random observations"))


@pytest.fixture
def make_kit(make_policy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """``make_kit(kind)`` -> the kit for a Jetson Orin, made where there is none."""
    pytest.importorskip("onnx")
    monkeypatch.setattr("pilotfish.targets.host.machine", lambda: "x86_64-linux")

    def make(network: str = "mlp", precision: str | None = None, **action) -> Artifact:
        policy = with_golden(make_policy(LAYERS[network], 8, 3, 0, **action))
        return export_policy(policy, load_target("jetson-orin-nano"), output=tmp_path / "dist", precision=precision)

    return make


@pytest.fixture
def device(standin_cuda: Path):
    """``device(folder, *arguments, **environment)``: run the kit as the device would; returns (exit code, output)."""
    pytest.importorskip("onnxruntime")

    def run(folder: Path, *arguments: str, **environment: str) -> tuple[int, str]:
        known = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG")}
        known |= {"LD_LIBRARY_PATH": str(standin_cuda.parent), "STANDIN_CUDA": "libcuda.so.1", "PYTHONPATH": str(STANDINS)}
        command = [sys.executable, str(folder / "kit.py"), "--calls", "50", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env=known | environment, cwd="/", timeout=120)
        return done.returncode, done.stdout + done.stderr

    return run


def report_of(folder: Path) -> dict:
    return json.loads((folder / "results/kit.json").read_text())


@pytest.mark.parametrize("kind, precision", [("mlp", None), ("mlp", "fp16"), ("lstm", None), ("int8", None)])
def test_one_command_builds_checks_and_times(make_kit, device, tmp_path, kind: str, precision: str | None) -> None:
    folder = shutil.copytree(make_kit(kind, precision).path, tmp_path / "device")
    code, output = device(folder)
    assert code == 0, output
    report = report_of(folder)
    assert report["passed"] and report["device"]["gpu"] == "Stand-in" and report["device"]["tensorrt"] == "tensorrt 10.3.0"
    assert set(report["parity"]) == {"each step", *(["whole episodes"] if kind == "lstm" else [])}
    assert report["latency"]["host_to_host_us"]["samples"] == 50 and report["latency"]["gpu_us"]["p50"] > 0
    assert report["graph"].startswith("one CUDA graph") and report["transfers"] == "mapped"
    assert "'tf32': False" in (folder / "results/build.log").read_text()
    assert report["build"]["reused"] is False and report["build"]["layers"]


def test_a_second_run_takes_the_engine_and_a_rebuild_the_measurements(make_kit, device, tmp_path) -> None:
    folder = shutil.copytree(make_kit().path, tmp_path / "device")
    assert device(folder)[0] == 0
    assert device(folder, "--copy", "--no-graph")[0] == 0
    report = report_of(folder)
    assert report["build"]["reused"] and report["transfers"] == "copied" and report["graph"].startswith("no CUDA graph")
    assert (folder / "results/timing.cache").read_bytes() == b"measured\n"
    assert device(folder, "--rebuild")[0] == 0
    assert (folder / "results/timing.cache").read_bytes() == b"measured\nmeasured\n"
    plan = folder / "results/policy.engine"
    plan.write_bytes(plan.read_bytes() + b"x")
    assert device(folder)[0] == 0 and not report_of(folder)["build"]["reused"], "a changed engine was loaded"


@pytest.mark.parametrize(
    "environment, code, words",
    [
        ({"STANDIN_CAPABILITY": "8.9"}, 2, "this kit is for compute capability 8.7, Stand-in has 8.9"),
        ({"STANDIN_NO_DEVICE": "1"}, 3, "knows 0 device"),
        ({"STANDIN_BROKEN": "1"}, 3, "cuInit failed: unknown (CUDA error 999)"),
        ({"LD_LIBRARY_PATH": ""}, 3, "no NVIDIA driver on this machine"),
        ({"PYTHONPATH": ""}, 3, "none of these is installed: tensorrt"),
        ({"STANDIN_REFUSES": "1"}, 2, "did not accept the decision"),
        ({"STANDIN_OLD_DRIVER": "1"}, 2, "CUDA initialization failure with error: 35"),
    ],
    ids=["wrong GPU", "no GPU", "broken driver", "no driver", "no TensorRT", "refused", "old driver"],
)
def test_what_is_wrong_or_missing_is_named(make_kit, device, environment, code, words) -> None:
    if words.startswith("no NVIDIA driver") and _has_driver():
        pytest.skip("this machine has an NVIDIA driver")
    found, output = device(make_kit().path, **environment)
    assert found == code and words in output, output
    assert "Traceback" not in output


def _has_driver() -> bool:
    try:
        ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    return True


@pytest.mark.parametrize("name", ["policy.onnx", "golden.npz", "tensorrt_engine.py"])
def test_damaged_files_are_refused(make_kit, device, tmp_path, name: str) -> None:
    folder = shutil.copytree(make_kit().path, tmp_path / "device")
    (folder / name).write_bytes((folder / name).read_bytes() + b"\n")
    code, output = device(folder)
    assert code == 2 and f"{name} is damaged" in output


def test_a_wrong_engine_fails_parity(make_kit, device, tmp_path) -> None:
    """An honest engine of another policy: the golden rollout must tell."""
    folder = shutil.copytree(make_kit("lstm").path, tmp_path / "device")
    recipe = json.loads((folder / "recipe.json").read_text())
    golden = dict(np.load(folder / "golden.npz"))
    golden["action"][17, 1] += 1e-3
    np.savez(folder / "golden.npz", **golden)
    recipe["sha256"]["golden.npz"] = kit.hashlib.sha256((folder / "golden.npz").read_bytes()).hexdigest()
    (folder / "recipe.json").write_text(json.dumps(recipe))
    code, output = device(folder)
    assert code == 1 and "PARITY FAILED" in output
    assert all("off by up to 0.001" in failure for failure in report_of(folder)["failures"])


def test_discrete_choices_may_differ_only_where_logits_tie(make_kit) -> None:
    artifact = make_kit("mlp", kind="discrete")
    recipe = json.loads((artifact.path / "recipe.json").read_text())
    golden = dict(np.load(artifact.path / "golden.npz"))

    class Recorded:
        """Acts as the golden rollout does, but for one step."""

        def __init__(self, wrong: int | None) -> None:
            self.actions = golden["action"].copy()
            if wrong is not None:
                self.actions[wrong] = (self.actions[wrong] + 1) % 3
            self.step = -1

        def reset(self) -> None: ...

        def act(self, obs: np.ndarray) -> np.ndarray:
            self.step += 1
            return self.actions[self.step]

    assert kit.parity(Recorded(None), golden, recipe) == ([], {"each step": {"agreement": 1.0, "steps": 80}})
    failures, _ = kit.parity(Recorded(5), golden, recipe)
    assert "1 of 80 choices differ" in failures[0]
    recipe["rules"][0]["close_calls"] = [5]
    assert kit.parity(Recorded(5), golden, recipe)[0] == []
    assert kit.parity(Recorded(5), golden, recipe, steps=5)[0] == []


def test_close_calls_are_the_steps_whose_logits_tie(make_policy) -> None:
    from pilotfish.export.tensorrt.recipe import recipe_of

    policy = make_policy(LAYERS["mlp"], 8, 3, 0, kind="discrete")
    policy.weights["b.weight"][:], policy.weights["b.bias"][:] = 0, (0.5, 0.5, 0.1)
    orin = load_target("jetson-orin-nano")
    policy = with_golden(policy, steps=6)
    assert orin.tensorrt is not None
    assert recipe_of(policy, orin, orin.tensorrt, "fp32", {})["rules"][0]["close_calls"] == list(range(6))
    policy.weights["b.bias"][0] = 0.6
    assert recipe_of(policy, orin, orin.tensorrt, "fp32", {})["rules"][0]["close_calls"] == []


def test_tf32_is_judged_as_what_it_is(make_policy) -> None:
    from pilotfish.export.tensorrt.recipe import recipe_of

    orin, policy = load_target("jetson-orin-nano"), with_golden(make_policy(LAYERS["mlp"], 8, 3, 0))
    assert orin.tensorrt is not None
    coarse = replace(orin, tensorrt=replace(orin.tensorrt, tf32=True))
    exact, loose = (recipe_of(policy, t, t.tensorrt, "fp32", {})["rules"][0]["worst"][0] for t in (orin, coarse))
    assert loose > 1e3 * exact


def test_the_kit_speaks_the_python_of_older_devices(make_kit) -> None:
    folder = make_kit().path
    for name in SOURCES:
        source = (folder / name).read_text()
        ast.parse(source, feature_version=(3, 8))
        assert "from __future__ import annotations" in source
        roots = {alias.name.split(".")[0] for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Import) for alias in n.names}
        assert roots - {path.removesuffix(".py") for path in SOURCES} - set(sys.stdlib_module_names) <= {"numpy"}
    assert "python3 kit.py" in (folder / "README.txt").read_text()
