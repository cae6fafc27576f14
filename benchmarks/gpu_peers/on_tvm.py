"""TVM: Relax from the ONNX graph, by its default pipeline for the device (on a GPU that is DLight's schedules)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from importlib.metadata import version
from typing import Any

import numpy as np
import tvm
from tvm import relax
from tvm.relax.frontend.onnx import from_onnx

from .batched import onnx_of
from .contestant import Contestant, Refusal, Workload


def make(workload: Workload, device: str) -> Iterator[Contestant | Refusal]:
    label = f"TVM, {'CUDA' if device == 'cuda' else 'LLVM'}"
    where = tvm.cuda(0) if device == "cuda" else tvm.cpu()
    try:
        if not where.exist:
            raise RuntimeError(f"TVM sees no {where}")
        begin = time.perf_counter()
        module = from_onnx(onnx_of(workload.policy, workload.batch), keep_params_in_input=False)
        built = tvm.compile(module, target=tvm.target.Target.from_device(where))
        machine = relax.VirtualMachine(built, where)
    except Exception as error:  # noqa: BLE001 whatever TVM raises is its answer
        yield Refusal(label, str(error).strip().splitlines()[-1])
        return
    notes = {"apache-tvm": tvm.__version__, "apache-tvm-ffi": version("apache-tvm-ffi"), "build_s": time.perf_counter() - begin}
    yield _contestant(label, machine, where, workload, notes)


def _contestant(label: str, machine: Any, where: Any, workload: Workload, notes: dict[str, Any]) -> Contestant:
    shape = (workload.batch, workload.policy.contract.observation.size)
    obs = tvm.runtime.empty(shape, "float32", where)
    zeros = [tvm.runtime.tensor(np.zeros((workload.batch, size), np.float32), where) for _, size in workload.state_sizes]
    main, state = machine["main"], list(zeros)

    def act(values: np.ndarray) -> np.ndarray:
        nonlocal state
        obs.copyfrom(np.ascontiguousarray(values))
        done = main(obs, *state)
        if state:
            done, *state = done
        return np.asarray(done.numpy())

    def reset() -> None:
        nonlocal state
        state = list(zeros)

    return Contestant(label, act, reset, notes=notes)
