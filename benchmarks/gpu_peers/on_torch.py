"""torch: eager, compiled, and a CUDA graph of the eager step."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from pilotfish.policy.torch_policy import TorchPolicy

from .contestant import Contestant, Refusal, Workload


def make(workload: Workload, device: str) -> Iterator[Contestant | Refusal]:
    if device == "cuda" and not torch.cuda.is_available():
        yield Refusal("torch", f"torch {torch.__version__} finds no CUDA device")
        return
    torch.compiler.reset()  # what was compiled for an earlier workload counts against a limit of recompilations
    torch.set_float32_matmul_precision("highest")  # TF32 would round products to 10 bits of mantissa
    notes = {"torch": torch.__version__}
    model = TorchPolicy(workload.policy).to(device).eval()
    yield Contestant("torch eager", *_stepper(model, workload, device), notes=notes)
    try:
        compiled = torch.compile(model, mode="reduce-overhead" if device == "cuda" else None)
        act, reset = _stepper(compiled, workload, device)
        act(np.zeros((workload.batch, workload.policy.contract.observation.size), np.float32))
        yield Contestant("torch.compile", act, reset, notes=notes)
    except Exception as error:  # noqa: BLE001 whatever the compiler raises is an answer
        yield Refusal("torch.compile", str(error).strip().partition("\n")[0])
    if device == "cuda":
        yield _graph(model, workload, notes)


def _buffers(workload: Workload, device: str) -> tuple[Any, Any, Any]:
    """(observation and action in page-locked host memory, state on the device)"""
    contract, pin = workload.policy.contract, device == "cuda"
    obs = torch.zeros(workload.batch, contract.observation.size, pin_memory=pin)
    action = torch.zeros(workload.batch, contract.action.size, pin_memory=pin)
    state = tuple(torch.zeros(workload.batch, size, device=device) for _, size in workload.state_sizes)
    return obs, action, state


def _stepper(model: Any, workload: Workload, device: str) -> tuple[Callable[[np.ndarray], np.ndarray], Callable[[], None]]:
    obs, action, zero = _buffers(workload, device)
    rows, result = obs.numpy(), action.numpy()
    state = zero

    @torch.inference_mode()
    def act(values: np.ndarray) -> np.ndarray:
        nonlocal state
        rows[:] = values
        done, new = model(obs.to(device, non_blocking=True), state)
        state = tuple(tensor.clone() for tensor in new)  # a compiled step overwrites what it returned before
        action.copy_(done, non_blocking=True)
        if device == "cuda":
            torch.cuda.current_stream().synchronize()
        return result

    def reset() -> None:
        nonlocal state
        state = zero

    return act, reset


def _graph(model: Any, workload: Workload, notes: dict[str, Any]) -> Contestant:
    obs, action, state = _buffers(workload, "cuda")
    rows, result = obs.numpy(), action.numpy()
    graph = torch.cuda.CUDAGraph()
    stream = torch.cuda.Stream()

    def step() -> None:
        done, new = model(obs.to("cuda", non_blocking=True), state)
        for held, fresh in zip(state, new, strict=True):
            held.copy_(fresh)
        action.copy_(done, non_blocking=True)

    with torch.inference_mode(), torch.cuda.stream(stream):
        for _ in range(3):  # lazily made things must exist before the recording
            step()
        stream.synchronize()
        with torch.cuda.graph(graph, stream=stream):
            step()

    def act(values: np.ndarray) -> np.ndarray:
        rows[:] = values
        with torch.cuda.stream(stream):
            graph.replay()
        stream.synchronize()
        return result

    def reset() -> None:
        for tensor in state:
            tensor.zero_()
        torch.cuda.synchronize()

    reset()
    return Contestant("torch, CUDA graph", act, reset, notes=notes)
