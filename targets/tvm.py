"""What the TVM back-end is told about a processor that is not the one at hand, and how long it may search."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass


@dataclass(frozen=True, config=ConfigDict(extra="forbid", use_attribute_docstrings=True))
class Tvm:
    """How the TVM back-end builds for the target."""

    host: Literal["", "aarch64"] = ""
    """Processor of the Linux machine that runs the library; empty: the machine at hand."""
    cpu: Annotated[str, Field(pattern=r"^[a-z0-9.-]*$")] = ""
    """LLVM's name of the CPU, such as "cortex-a72"; empty: what the machine at hand has, or a plain one."""
    tune_trials: int = Field(default=0, ge=0, le=1_000_000)
    """Schedules that MetaSchedule tries, over all kernels; 0: the batch-1 schedules as they are. Only for this machine."""
