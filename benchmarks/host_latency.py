"""What one decision costs on this machine: generated C against ONNX Runtime, in one interleaved run.

    python benchmarks/host_latency.py [--rounds 40] [--json out.json]

Every round gives each contestant one block of calls, so that a machine that slows down slows all of them.
Printed: the median over rounds of the block medians, their quartiles, and the ratio to ONNX Runtime of the
same round. Two C rows: timed inside the library (no Python), and called from Python through ctypes.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import itertools

import numpy as np

from pilotfish.errors import require
from pilotfish.export.c import build
from pilotfish.export.onnx import to_onnx
from pilotfish.policy.bundle import Policy
from pilotfish.policy.contract import Action, Contract, Observation
from pilotfish.policy.layers import GRU, Activation, Layer, Linear, tensor_shapes
from pilotfish.targets import host
from pilotfish.targets.profile import load_target

CALLS = 400
"""Timed calls of a block."""
Contestant = Callable[[], float]
"""One block of calls -> the median nanoseconds of a call."""


def policies() -> dict[str, Policy]:
    """The networks; random weights cost what trained ones cost."""

    def mlp(*sizes: int, bits: int = 32) -> list[Layer]:
        layers: list[Layer] = []
        for index, (a, b) in enumerate(itertools.pairwise(sizes)):
            layers += [Linear(f"fc{index}", a, b, weight_bits=bits), Activation("tanh")]
        return layers[:-1]

    return {
        "17-64-64-6 tanh": _policy(mlp(17, 64, 64, 6), 17, 6),
        "17-64-64-6 tanh, int8 weights": _policy(mlp(17, 64, 64, 6, bits=8), 17, 6),
        "17-16-16-6 tanh": _policy(mlp(17, 16, 16, 6), 17, 6),
        "17-256-256-6 tanh": _policy(mlp(17, 256, 256, 6), 17, 6),
        "48-GRU 64-12": _policy([GRU("g", 48, 64), Linear("out", 64, 12)], 48, 12),
    }


def _policy(layers: list[Layer], in_size: int, out_size: int) -> Policy:
    rng = np.random.default_rng(0)
    weights: dict[str, np.ndarray] = {}
    for layer in layers:
        for name, (shape, dtype) in tensor_shapes(layer).items():
            values = rng.normal(size=shape) / np.sqrt(shape[-1])
            weights[name] = rng.integers(-127, 128, shape).astype(np.int8) if dtype == np.int8 else values.astype(np.float32)
            if name.endswith("_scale"):
                weights[name] = np.full(shape, 1e-3, np.float32)
    return Policy("benchmark", Contract(Observation(in_size), Action("continuous", out_size)), tuple(layers), weights)


def contestants(policy: Policy, folder: Path) -> dict[str, Contestant]:
    """Name -> one block; the observations rotate."""
    sizes = policy.contract.observation.size, sum(s.size for s in policy.contract.state), policy.contract.action.size
    observations = np.random.default_rng(1).normal(size=(64, sizes[0])).astype(np.float32)
    build(policy, to_onnx(policy), load_target("host-cpu"), folder)
    library = ctypes.PyDLL(str(folder / "policy.so"))
    elapsed = np.zeros(CALLS, np.int64)

    def inside() -> float:
        rows, out = ctypes.c_void_p(observations.ctypes.data), ctypes.c_void_p(elapsed.ctypes.data)
        if library.policy_time(CALLS, rows, len(observations), out):
            raise RuntimeError("policy_time refused its arguments")
        return float(np.median(elapsed))

    obs, state, action = (np.zeros(max(size, 1), np.float32) for size in sizes)
    pointers = tuple(ctypes.c_void_p(array.ctypes.data) for array in (obs, state, action))
    step = library.policy_step
    step.restype = None

    def through_ctypes(row: np.ndarray) -> np.ndarray:
        obs[:] = row
        step(*pointers)
        return action.copy()

    session = _onnxruntime(policy)
    feed = {f"state_in_{s.name}": np.zeros((1, s.size), np.float32) for s in policy.contract.state}

    def through_onnxruntime(row: np.ndarray) -> np.ndarray:
        feed["obs"] = row[None]
        results = session.run(None, feed)
        for tensor, value in zip(policy.contract.state, results[1:], strict=True):
            feed[f"state_in_{tensor.name}"] = value
        return results[0]

    return {
        "onnxruntime, from Python": lambda: _block(through_onnxruntime, observations),
        "C, from Python (ctypes)": lambda: _block(through_ctypes, observations),
        "C, timed inside": inside,
    }


def _block(call: Callable[[np.ndarray], np.ndarray], observations: np.ndarray) -> float:
    times, clock = [], time.perf_counter_ns
    for index in range(CALLS):
        row = observations[index % len(observations)]
        start = clock()
        call(row)
        times.append(clock() - start)
    return statistics.median(times)


def _onnxruntime(policy: Policy):
    ort = require("onnxruntime", "ort")
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return ort.InferenceSession(to_onnx(policy).SerializeToString(), options, providers=["CPUExecutionProvider"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    results: dict[str, dict[str, dict[str, float]]] = {}
    print(f"{host.device_name()}, load {os.getloadavg()[0]:.2f}; {arguments.rounds} rounds of {CALLS} calls; nanoseconds a call")
    with tempfile.TemporaryDirectory() as scratch:
        everybody = {}
        for name, policy in policies().items():
            folder = Path(scratch) / f"p{len(everybody)}"
            folder.mkdir()
            everybody[name] = contestants(policy, folder)
        rounds: dict[str, dict[str, list[float]]] = {n: {c: [] for c in who} for n, who in everybody.items()}
        for index in range(arguments.rounds + 2):
            for name, who in everybody.items():
                for contestant, block in who.items():
                    median = block()
                    if index >= 2:  # two rounds to warm up
                        rounds[name][contestant].append(median)
    for name, who in rounds.items():
        print(f"\n{name}")
        base = who["onnxruntime, from Python"]
        for contestant, medians in who.items():
            low, middle, high = np.percentile(medians, [25, 50, 75])
            ratio = statistics.median(m / b for m, b in zip(medians, base, strict=True))
            results.setdefault(name, {})[contestant] = {"ns": middle, "ns_q25": low, "ns_q75": high, "ratio": ratio}
            print(f"  {contestant:26} {middle:9.0f}  ({low:.0f} to {high:.0f})   {ratio:.3f} of onnxruntime")
    print("\nEach 'timed inside' call contains one reading of the clock.")
    if arguments.json:
        arguments.json.write_text(json.dumps({"device": host.fingerprint(), "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
