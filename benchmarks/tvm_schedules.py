"""What TVM's pipelines, its CPU rules and our schedules make of one policy, beside ONNX Runtime and our C: in turns, one run.

    python benchmarks/tvm_schedules.py [--sizes 17 256 256 6] [--activation relu] [--tune-trials 384] [--rounds 40]

Each contestant answers from Python with buffers bound once; the medians of its blocks are taken in turns with the others, so
that a slow moment of the machine hits all of them. Needs the tvm extra.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tvm
from tvm import relax
from tvm.relax.frontend.onnx import from_onnx
from tvm.s_tir import dlight

from pilotfish.export.build import export_policy
from pilotfish.export.onnx import to_onnx
from pilotfish.export.tvm.processor import processor_for
from pilotfish.policy import Action, Contract, Golden, Observation, Policy
from pilotfish.policy.layers import Activation, Layer, Linear
from pilotfish.policy.reference import Reference
from pilotfish.runtime.open import open_session
from pilotfish.targets import host, load_target, with_tune_trials

CALLS = 200
"""Calls of one block."""


def policy_of(sizes: list[int], activation: str) -> Policy:
    """A dense policy of random weights, with a golden rollout."""
    generator, layers, weights = np.random.default_rng(0), list[Layer](), {}
    for index, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        layers.append(Linear(f"layer{index}", inputs, outputs))
        if index < len(sizes) - 2:
            layers.append(Activation(activation))  # type: ignore[arg-type]
        weights[f"layer{index}.weight"] = (generator.normal(size=(outputs, inputs)) / np.sqrt(inputs)).astype(np.float32)
        weights[f"layer{index}.bias"] = (0.1 * generator.normal(size=outputs)).astype(np.float32)
    contract = Contract(Observation(sizes[0]), Action("continuous", sizes[-1]))
    policy = Policy("-".join(map(str, sizes)), contract, tuple(layers), weights)
    obs = generator.normal(size=(64, sizes[0])).astype(np.float32)
    reference = Reference(policy)
    action = np.stack([reference.act(row) for row in obs])
    return policy.replace(golden=Golden(obs, action, np.zeros((64, 0), np.float32), np.arange(64) == 0, "random observations"))


def by_relax(module: Any, target: Any) -> Callable[[np.ndarray], np.ndarray]:
    """The module through Relax's virtual machine, its input bound once."""
    machine = relax.VirtualMachine(relax.build(module, target), tvm.cpu())
    main = machine["main"]
    size = int(module["main"].params[0].ty.shape[1])
    raw = np.zeros(4 * size + 64, np.uint8)
    start = -raw.ctypes.data % 64  # TVM takes no memory that is not aligned to this
    obs = raw[start : start + 4 * size].view(np.float32).reshape(1, size)
    bound = tvm.runtime.from_dlpack(obs)

    def act(row: np.ndarray) -> np.ndarray:
        obs[0] = row
        return np.from_dlpack(main(bound))[0]

    return act


def contestants(policy: Policy, trials: int, folder: Path) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """Label -> observation to action."""
    here = load_target("host-cpu")
    target, model = processor_for(here).llvm, to_onnx(policy)

    def module() -> Any:
        return from_onnx(model, keep_params_in_input=False)

    with target:
        rules = dlight.ApplyDefaultSchedule(dlight.cpu.GEMV(), dlight.cpu.Reduction())
        made = {
            "TVM, relax.build as it is": by_relax(module(), target),
            'TVM, pipeline "zero"': by_relax(relax.get_pipeline("zero")(module()), target),
            'TVM, pipeline "static_shape_tuning", 0 trials': by_relax(
                relax.get_pipeline("static_shape_tuning", total_trials=0, target=target)(module()), target
            ),
            'TVM, "zero" and dlight\'s CPU rules': by_relax(rules(relax.get_pipeline("zero")(module())), target),
        }
    for label, backend, count in (
        ("Pilotfish, tvm", "tvm", 0),
        (f"Pilotfish, tvm, {trials} trials", "tvm", trials),
        ("Pilotfish, c", "c", 0),
        ("Pilotfish, onnxruntime", "onnxruntime", 0),
    ):
        if backend == "tvm" and label != "Pilotfish, tvm" and not trials:
            continue
        artifact = export_policy(policy, with_tune_trials(here, count), backend, folder / str(count))
        if "schedule" in artifact.manifest.tools:
            print(f"{label}: {artifact.manifest.tools['schedule']}")
        made[label] = open_session(artifact, trust=True).act
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[17, 256, 256, 6])
    parser.add_argument("--activation", default="relu")
    parser.add_argument("--tune-trials", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=40)
    options = parser.parse_args()
    policy = policy_of(options.sizes, options.activation)
    assert policy.golden is not None  # made above
    rows = list(policy.golden.obs)
    with tempfile.TemporaryDirectory() as folder:
        acts = contestants(policy, options.tune_trials, Path(folder))
        errors = {
            label: max(float(np.abs(act(r) - a).max()) for r, a in zip(rows, policy.golden.action, strict=True))
            for label, act in acts.items()
        }
        taken: dict[str, list[float]] = {label: [] for label in acts}
        now = time.perf_counter_ns
        for _ in range(options.rounds):
            for label, act in acts.items():
                block = []
                for k in range(CALLS):
                    row = rows[k % len(rows)]
                    begin = now()
                    act(row)
                    block.append(now() - begin)
                taken[label].append(float(np.median(block)) / 1e3)
    first = np.array(next(iter(taken.values())))
    load = host.fingerprint()["load"]
    print(f"{policy.name} {options.activation}, {host.device_name()}, {options.rounds} rounds of {CALLS} calls, load {load}")
    print(f"{'':48} {'p50 us':>8} {'least us':>8} {'times faster':>12} {'error':>8}")
    for label, values in taken.items():
        ratio = float(np.median(first / np.array(values)))
        print(f"{label:48} {np.median(values):8.2f} {min(values):8.2f} {ratio:12.1f} {errors[label]:8.0e}")


if __name__ == "__main__":
    main()
