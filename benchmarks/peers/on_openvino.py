"""OpenVINO on the CPU: the ordinary call, and one that shares memory with numpy on both sides."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openvino as ov

from .contestant import Contestant
from .subject import Subject

SETTINGS = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "ENABLE_CPU_PINNING": False} | {
    "INFERENCE_PRECISION_HINT": "f32"
}
"""One thread; float32, because where the processor has bfloat16 OpenVINO uses it unasked."""


def versions() -> dict[str, str]:
    return {"openvino": ov.__version__}


def prepare(subject: Subject, scratch: Path) -> list[Contestant]:  # noqa: ARG001 part of the contract
    model = ov.Core().read_model(str(subject.onnx))
    ordinary = "infer(inputs): array in, results copied"
    shared = "infer(inputs, share_inputs, share_outputs): no copies"
    return [
        _contestant("OpenVINO", ordinary, model, subject, share=False),
        _contestant("OpenVINO, shared memory", shared, model, subject, share=True),
    ]


def _contestant(label: str, contains: str, model: ov.Model, subject: Subject, *, share: bool) -> Contestant:
    request = ov.Core().compile_model(model, "CPU", SETTINGS).create_infer_request()
    infer = request.infer
    size = subject.sizes[1]
    held = [np.zeros((1, size), np.float32)]

    def plain(row: np.ndarray) -> np.ndarray:
        return infer([row[None]], share_inputs=share, share_outputs=share)[0]

    def recurrent(row: np.ndarray) -> np.ndarray:
        results = infer([row[None], held[0]], share_inputs=share, share_outputs=share)
        # A shared result is overwritten by the next call, which reads it.
        held[0] = results[1].copy() if share else results[1]
        return results[0]

    def reset() -> None:
        held[0] = np.zeros((1, size), np.float32)

    return Contestant(label, contains, recurrent if subject.state else plain, reset)
