"""How the TensorRT back-end builds for a device with an NVIDIA GPU: the [tensorrt] part of a target profile."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

Flavour = Literal["tensorrt", "tensorrt_rtx"]
Half = Literal["fp16", "bf16"]


@dataclass(frozen=True, config=ConfigDict(extra="forbid", use_attribute_docstrings=True))
class TensorRT:
    """What the builder is told, and how the engine is run."""

    compute_capability: Annotated[str, Field(pattern=r"^[1-9][0-9]?\.[0-9]$")]
    """The GPU's, such as "8.9"; an engine runs on no other."""
    flavours: Annotated[tuple[Flavour, ...], Field(min_length=1)] = ("tensorrt_rtx", "tensorrt")
    """TensorRT-RTX (from PyPI, builds without a GPU) and full TensorRT (10 or 11; builds on the device only), preferred first."""
    host: Literal["x86_64", "aarch64"] = "x86_64"
    """The processor beside the GPU: engines do not move between platforms."""
    half: Half | None = None
    """Round matrices and their products to 16 bits; ``export --precision`` sets it."""
    workspace_bytes: int = Field(default=256 << 20, gt=0)
    """Scratch memory that a kernel may ask for."""
    optimization_level: int | None = Field(default=None, ge=0, le=5)
    """How long the builder searches; None: its own choice. TensorRT-RTX 1.7.1 gave engines of one size for all."""
    tf32: bool = False
    """Let float32 products be rounded to 10 bits of mantissa on tensor cores; then parity is that of fp16."""
    cuda_graph: bool = True
    """Record a decision with its transfers once, and launch the recording."""
    transfers: Literal["copy", "mapped"] = "copy"
    """copy: observation and action are copied. mapped: the GPU reads and writes host memory, which is its own on a Jetson."""
