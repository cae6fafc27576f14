"""One node of an ONNX graph, as its operator sees it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from .signal import Misfit, Signal, StateOut


@dataclass(frozen=True)
class Node:
    """One node with its inputs already followed."""

    op: str
    """Operator."""
    name: str
    """Its name, or that of its first output."""
    inputs: list[Any]
    """Signals, constants (numpy), state values; None for an omitted one."""
    attributes: dict[str, Any]
    """Attributes as Python values; tensors as numpy."""
    outputs: int
    """How many outputs it has."""

    def constant(self, index: int, default: Any = None) -> Any:
        """Input ``index`` as a constant, or ``default`` where it is omitted."""
        value = self.inputs[index] if index < len(self.inputs) else None
        if value is None:
            return default
        if not isinstance(value, np.ndarray):
            raise Misfit(f"input {index} that depends on the observation")
        return value

    def signal(self, index: int = 0) -> Signal:
        """Input ``index`` as a signal; the hidden state of a recurrent layer is one too."""
        value = self.inputs[index] if index < len(self.inputs) else None
        if isinstance(value, StateOut) and value.which == "h":
            return value.signal
        if not isinstance(value, Signal):
            raise Misfit(f"input {index} that is a {type(value).__name__}, not the observation on its way")
        return value
