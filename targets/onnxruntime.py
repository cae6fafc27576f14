"""Which of ONNX Runtime's execution providers a device uses: the [onnxruntime] part of a target profile."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

Provider = Literal["cpu", "cuda", "tensorrt", "nv_tensorrt_rtx"]
PROVIDERS: dict[Provider, str] = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
    "nv_tensorrt_rtx": "NvTensorRTRTXExecutionProvider",
}
"""Provider -> what ONNX Runtime calls it."""
PACKAGES: dict[Provider, str] = {
    "cpu": "onnxruntime",
    "cuda": "onnxruntime-gpu",
    "tensorrt": "onnxruntime-gpu and TensorRT's libraries",
    "nv_tensorrt_rtx": "onnxruntime-ep-nv-tensorrt-rtx-cu13",
}
"""Provider -> the package that brings it."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid", use_attribute_docstrings=True))
class OnnxRuntime:
    """How a session is opened."""

    provider: Provider = "cpu"
    """Runs the whole graph, or the session is refused: no part of it ever falls back to another provider."""
