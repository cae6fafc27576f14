"""Artifacts for reports: policies with random weights, results that were never measured, and a browser to look at a page."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pilotfish.policy import Action, Contract, Normalizer, Observation, Policy, Provenance, Timing
from pilotfish.policy.cells import GRU
from pilotfish.policy.contract import PassRecord
from pilotfish.policy.layers import Activation, Linear
from pilotfish.runtime.artifact import Artifact, writing_artifact
from pilotfish.targets.profile import load_target

CHROMIUM = next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)
FINGERPRINT = {"name": "test machine", "cpu": "imaginary cpu", "cores": 2, "machine": "x86_64-linux", "load": 0.1}


def policy(
    name: str = "cheetah",
    hidden: int = 64,
    *,
    bits: int = 32,
    sparsity: float = 0.0,
    parent: Policy | None = None,
    kind: str = "continuous",
    recurrent: bool = False,
    **provenance: Any,
) -> Policy:
    """A policy with random weights; ``provenance`` overrides the contract's."""
    rng = np.random.default_rng(hidden)
    weights: dict[str, np.ndarray] = {}
    layers: list[Any] = []

    def dense(label: str, inputs: int, outputs: int) -> None:
        matrix = rng.normal(size=(outputs, inputs)).astype(np.float32)
        matrix[rng.random(matrix.shape) < sparsity] = 0
        if bits == 8:
            scale = np.abs(matrix).max(axis=1) / 127
            weights[f"{label}.weight_scale"] = scale.astype(np.float32)
            matrix = np.round(matrix / scale[:, None]).astype(np.int8)
        weights[f"{label}.weight"] = matrix
        weights[f"{label}.bias"] = rng.normal(size=outputs).astype(np.float32)
        layers.append(Linear(label, inputs, outputs, weight_bits=bits))  # type: ignore[arg-type]

    dense("hidden", 17, hidden)
    layers.append(Activation("tanh"))
    if recurrent:
        layers.append(GRU("memory", hidden, 8))
        for tensor, shape in (("weight_ih", (24, hidden)), ("weight_hh", (24, 8)), ("bias_ih", (24,)), ("bias_hh", (24,))):
            weights[f"memory.{tensor}"] = rng.normal(size=shape).astype(np.float32)
    dense("out", 8 if recurrent else hidden, 6)
    origin = {"source": "trained by Pilotfish PPO", "env": "HalfCheetah-v5", "algorithm": "PPO", "steps": 1_000_000, "seed": 0}
    passes: tuple[PassRecord, ...] = ()
    if parent:
        passes = (
            PassRecord("prune", {"amount": sparsity, "schedule": "cubic"}, {"sparsity": sparsity}),
            PassRecord("quantize", {"bits": bits}, {"weight_bytes": [22_000, 6_000]}),
            PassRecord("heal", {"steps": 30_000}, {"loss_before": 0.31, "loss_after": 0.0042}),
        )
    contract = Contract(
        Observation(17, normalizer=Normalizer((0.1,) * 17, (1.2,) * 17, clip=10.0), units="m, rad, m/s, rad/s"),
        Action(kind, 6, low=() if kind == "discrete" else (-1.0,) * 6, high=() if kind == "discrete" else (1.0,) * 6),  # type: ignore[arg-type]
        timing=Timing(control_hz=20.0),
        provenance=Provenance(
            **(
                origin
                | {"parents": (parent.digest,) if parent else (), "passes": passes, "tools": {"torch": "2.13"}}
                | provenance
            )
        ),
    )
    return Policy(name, contract, tuple(layers), weights)


def build(folder: Path, made: Policy, target: str = "host-cpu", backend: str = "c") -> Artifact:
    """An artifact with a placeholder for the built file."""
    profile = load_target(target)
    path = folder / f"{made.name}-{made.digest[:6]}@{target}.{backend}"
    with writing_artifact(path, made) as (inside, fields):
        (inside / "policy.bin").write_bytes(b"\0" * (made.weight_bytes + 900))
        fields |= {
            "target": profile,
            "backend": backend,
            "precision": made.precision,
            "entry": "policy.bin",
            "native": backend == "c",
            "machine": "any",
            "tools": {"compiler": "cc 14", "flags": "-O3"},
            "sizes": {"weights": made.weight_bytes},
        }
    return Artifact.load(path)


def one(value: float | None, unit: str, source: str = "measured", samples: int = 1, **more: Any) -> dict[str, Any]:
    return {"value": value, "unit": unit, "source": source, "samples": samples, "device": "test machine"} | more


def store_verify(
    artifact: Artifact, *, passed: bool = True, error: float = 3e-7, tolerance: float = 1e-5, discrete: bool = False
) -> None:
    rng = np.random.default_rng(int(artifact.digest[:6], 16))
    figures = {
        "max_abs_error": one(error, "action", samples=1000),
        "one_step_max_abs_error": one(error / 2, "action", samples=1000),
    }
    if discrete:
        figures = {"agreement": one(0.9991, "fraction", samples=1000)}
    artifact.store_result(
        "verify",
        {
            "passed": passed,
            "tolerance": tolerance,
            "steps": 1000,
            "golden_source": "environment",
            "figures": figures,
            "error_by_step": [float(x) for x in error * rng.random(250)],
            "device": FINGERPRINT,
            "date": "2026-01-01T10:00:00+00:00",
        },
    )


def store_bench(
    artifact: Artifact, median_us: float, *, deadline_us: float = 50_000.0, met: bool | None = True, flash: int = 21_000
) -> None:
    data: dict[str, Any] = {"control_hz": 1e6 / deadline_us, "deadline_us": deadline_us, "deadline_met": met}
    data |= {"device": FINGERPRINT, "date": "2026-01-01T10:00:00+00:00", "histograms": {}}
    if artifact.manifest.target.link.kind == "virtual":
        cycles = median_us * 168
        data["figures"] = {
            "instructions": one(round(cycles * 0.8), "instructions", "emulated", 64),
            "cycles": one(
                cycles, "cycles", "estimated", 64, low=cycles * 0.9, high=cycles * 1.2, spread="lo/hi of the cost model"
            ),
            "latency_us": one(
                median_us, "us", "estimated", 64, low=median_us * 0.9, high=median_us * 1.2, spread="lo/hi of the cost model"
            ),
            "flash_bytes": one(flash, "bytes", "emulated"),
            "ram_bytes": one(2_200, "bytes", "emulated"),
        }
    else:
        rng = np.random.default_rng(int(median_us * 100))
        figures = {}
        for mode, slow, number in (("tight", 1.0, 20_000), ("paced", 2.3, 400)):
            sample = median_us * slow * rng.lognormal(0, 0.13, number) + (rng.random(number) < 0.004) * rng.random(number) * 180
            counts, edges = np.histogram(sample, np.geomspace(sample.min() * 0.99, sample.max() * 1.01, 61))
            data["histograms"][mode] = {"edges_us": edges.tolist(), "counts": counts.tolist()}
            for label, share in (("p50", 50), ("p99", 99)):
                figures[f"{mode}_{label}_us"] = one(float(np.percentile(sample, share)), "us", samples=number)
            figures[f"{mode}_p999_us"] = one(
                float(np.percentile(sample, 99.9)) if number > 1000 else None,
                "us",
                samples=number,
                note="" if number > 1000 else "400 decisions do not hold a 99.9th percentile",
            )
            figures[f"{mode}_worst_us"] = one(float(sample.max()), "us", samples=number)
        figures |= {"paced_misses": one(0 if met else 7, "decisions", samples=400), "artifact_bytes": one(flash, "bytes")}
        data["figures"] = figures
    artifact.store_result("bench", data)


def store_evaluate(
    artifact: Artifact, mean: float, reference: float, *, gate: float | None = 0.95, passed: bool | None = True
) -> None:
    rng = np.random.default_rng(int(artifact.digest[:6], 16))
    base = reference + np.random.default_rng(3).normal(0, abs(reference) * 0.01, 20)
    returns = base + (mean - reference) + rng.normal(0, abs(reference) * 0.004, 20)
    gap = returns - base
    bounds = {"spread": "95 % bootstrap interval"}
    spread = 0.012 * abs(reference) / np.sqrt(20)
    artifact.store_result(
        "evaluate",
        {
            "figures": {
                "return": one(
                    float(returns.mean()),
                    "return",
                    samples=20,
                    low=float(returns.mean() - 2 * spread),
                    high=float(returns.mean() + 2 * spread),
                    **bounds,
                ),
                "reference_return": one(float(base.mean()), "return", samples=20),
                "difference": one(
                    float(gap.mean()),
                    "return",
                    samples=20,
                    low=float(gap.mean() - spread),
                    high=float(gap.mean() + spread),
                    **bounds,
                ),
                "retained": one(
                    float(returns.mean() / base.mean()) if reference > 0 else None,
                    "ratio",
                    samples=20,
                    note="" if reference > 0 else "the reference return is not positive",
                ),
            },
            "env": "HalfCheetah-v5",
            "episodes": 20,
            "seeds": list(range(20)),
            "returns": returns.tolist(),
            "reference_returns": base.tolist(),
            "lengths": [1000] * 20,
            "reference": "cheetah",
            "gate": gate,
            "passed": passed,
            "device": FINGERPRINT,
            "date": "2026-01-01T10:00:00+00:00",
        },
    )


def browse(page: Path, folder: Path, width: int = 1280) -> str:
    """The page's DOM after its scripts ran, from a headless Chromium with a window so many pixels wide."""
    if CHROMIUM is None:
        pytest.skip("chromium is not installed")
    flags = "--headless --no-sandbox --disable-gpu --disable-background-networking --no-first-run --virtual-time-budget=8000"
    flags += f" --window-size={width},2000"
    command = [CHROMIUM, *flags.split(), f"--user-data-dir={folder / 'chromium'}", "--dump-dom", page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def assert_alive(dom: str) -> None:
    """No script error, every plot has marks in it and shows its texts to their ends, and there is at least one plot."""
    state = dict(re.findall(r'data-([a-z-]+)="([^"]*)"', dom[: dom.index("<head>")]))
    assert state["script-errors"] == "" and state["done"] == "yes" and state["cut"] == "", state
    drawn, wanted = state["plots-ok"].split("/")
    assert drawn == wanted and int(wanted) > 0
    assert dom.count('class="main-svg"') >= int(wanted)


SHELF = SimpleNamespace(
    policy=policy,
    build=build,
    one=one,
    store_verify=store_verify,
    store_bench=store_bench,
    store_evaluate=store_evaluate,
    browse=browse,
    assert_alive=assert_alive,
)


@pytest.fixture(scope="session")
def shelf() -> SimpleNamespace:
    """What makes artifacts and results, and looks at pages, by name."""
    return SHELF


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> list[Artifact]:
    """An original and its compressed child on three target and back-end pairs, fully tested."""
    folder = tmp_path_factory.mktemp("dist")
    original = policy()
    small = policy("cheetah-small", 16, bits=8, sparsity=0.5, parent=original)
    made = []
    costs = {
        (original.digest, "onnxruntime"): (6.1, 24_000),
        (original.digest, "c"): (1.4, 11_000),
        (original.digest, "crazyflie"): (310.0, 27_000),
        (small.digest, "onnxruntime"): (9.8, 24_000),
        (small.digest, "c"): (0.6, 4_000),
        (small.digest, "crazyflie"): (95.0, 9_100),
    }
    for each in (original, small):
        for target, backend in (("host-cpu", "onnxruntime"), ("host-cpu", "c"), ("crazyflie", "c")):
            artifact = build(folder, each, target, backend)
            median, flash = costs[each.digest, "crazyflie" if target == "crazyflie" else backend]
            store_verify(artifact, error=2.5e-7 if each is original else 6e-6)
            store_bench(artifact, median, deadline_us=2000.0 if target == "crazyflie" else 50_000.0, flash=flash)
            store_evaluate(artifact, 5892 if each is original else 5790, 5892)
            made.append(artifact)
    return made
