"""ONNX Runtime: the CUDA provider and the TensorRT-RTX plug-in, each alone or not at all; the processor beside them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnxruntime as ort

from pilotfish.errors import PilotfishError
from pilotfish.runtime.onnxruntime_provider import open_graph
from pilotfish.targets.onnxruntime import PROVIDERS, Provider

from .batched import onnx_of
from .contestant import Contestant, Refusal, Workload


def make(workload: Workload, device: str) -> Iterator[Contestant | Refusal]:
    wanted: tuple[Provider, ...] = ("cpu",) if device == "cpu" else ("cpu", "cuda", "nv_tensorrt_rtx")
    graph = onnx_of(workload.policy, workload.batch).SerializeToString()
    for provider in wanted:
        label = f"ONNX Runtime, {PROVIDERS[provider].removesuffix('ExecutionProvider')}"
        try:
            session = open_graph(graph, provider, Path(workload.name))
        except PilotfishError as error:
            yield Refusal(label, str(error))
            continue
        yield _contestant(label, session, workload)


def _contestant(label: str, session: ort.InferenceSession, workload: Workload) -> Contestant:
    contract, batch = workload.policy.contract, workload.batch
    obs = np.zeros((batch, contract.observation.size), np.float32)
    action = np.zeros((batch, contract.action.size), np.float32)
    states = {
        name: (np.zeros((batch, size), np.float32), np.zeros((batch, size), np.float32)) for name, size in workload.state_sizes
    }
    bindings = [_bound(session, obs, action, states, now) for now in (0, 1)]
    now = 0

    def act(values: np.ndarray) -> np.ndarray:
        nonlocal now
        obs[:] = values
        session.run_with_iobinding(bindings[now])
        now ^= 1
        return action

    def reset() -> None:
        for pair in states.values():
            pair[now][:] = 0

    return Contestant(label, act, reset, notes={"onnxruntime": ort.__version__, "providers": session.get_providers()})


def _bound(session, obs, action, states, now):  # type: ignore[no-untyped-def]
    """Host memory on both ends, so that transfers are inside the call; the state ping-pongs."""
    binding = session.io_binding()
    binding.bind_input("obs", "cpu", 0, np.float32, obs.shape, obs.ctypes.data)
    binding.bind_output("action", "cpu", 0, np.float32, action.shape, action.ctypes.data)
    for name, pair in states.items():
        binding.bind_input(f"state_in_{name}", "cpu", 0, np.float32, pair[now].shape, pair[now].ctypes.data)
        binding.bind_output(f"state_out_{name}", "cpu", 0, np.float32, pair[1 - now].shape, pair[1 - now].ctypes.data)
    return binding
