"""ONNX Runtime: the ordinary call, and IO binding with every buffer bound once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime as ort

from .contestant import Contestant
from .subject import Subject


def versions() -> dict[str, str]:
    return {"onnxruntime": ort.__version__}


def prepare(subject: Subject, scratch: Path) -> list[Contestant]:  # noqa: ARG001 part of the contract
    return [_ordinary(subject), _bound(subject)]


def session_of(subject: Subject) -> ort.InferenceSession:
    """One thread, no spinning, every graph optimization."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    for pool in ("intra_op", "inter_op"):
        options.add_session_config_entry(f"session.{pool}.allow_spinning", "0")
    return ort.InferenceSession(str(subject.onnx), options, providers=["CPUExecutionProvider"])


def _ordinary(subject: Subject) -> Contestant:
    session = session_of(subject)
    names = [f"state_in_{name}" for name, _ in subject.state]
    zeros = [np.zeros((1, size), np.float32) for _, size in subject.state]
    feed: dict[str, np.ndarray] = {}

    def reset() -> None:
        feed.update(zip(names, zeros, strict=True))

    def step(row: np.ndarray) -> np.ndarray:
        feed["obs"] = row[None]
        results = session.run(None, feed)
        for index, name in enumerate(names):
            feed[name] = results[index + 1]
        return results[0]

    reset()
    return Contestant("ONNX Runtime", "run(None, feed): array in, new array out", step, reset)


def _bound(subject: Subject) -> Contestant:
    session = session_of(subject)
    inputs, state_size, outputs = subject.sizes
    obs, action = np.zeros((1, inputs), np.float32), np.zeros((1, outputs), np.float32)
    states = np.zeros((2, state_size), np.float32)
    bindings, now, run = [], [0], session.run_with_iobinding
    for read, write in ((0, 1), (1, 0)):
        binding = session.io_binding()
        binding.bind_input("obs", "cpu", 0, np.float32, obs.shape, obs.ctypes.data)
        binding.bind_output("action", "cpu", 0, np.float32, action.shape, action.ctypes.data)
        start = 0
        for name, size in subject.state:
            part = slice(start, start + size)
            binding.bind_input(f"state_in_{name}", "cpu", 0, np.float32, (1, size), states[read, part].ctypes.data)
            binding.bind_output(f"state_out_{name}", "cpu", 0, np.float32, (1, size), states[write, part].ctypes.data)
            start += size
        bindings.append(binding)

    def step(row: np.ndarray) -> np.ndarray:
        obs[0] = row
        run(bindings[now[0]])
        now[0] ^= 1
        return action

    def reset() -> None:
        states[:] = 0

    return Contestant("ONNX Runtime, IO binding", "copy into the bound input, run; the output array is reused", step, reset)
