"""What a dense layer computes, apart from how: the common noun of all kernels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..graph import Node


@dataclass(frozen=True)
class DenseLayer:
    """y[o] = f(bias[o] + scale[o] * sum_i weight[o][i] * x[i])"""

    name: str
    """Name of the weights, for the C tables and the list of choices."""
    weight: np.ndarray
    """float32 or int8 [out, in]."""
    scale: np.ndarray | None
    """float32 [out] of int8 weights; None: float32 weights."""
    bias: np.ndarray
    """float32 [out]."""
    activation: Node | None = None
    """A fused elementwise node f with one input; None: identity."""

    @property
    def rows(self) -> int:
        """Outputs."""
        return int(self.weight.shape[0])

    @property
    def columns(self) -> int:
        """Inputs."""
        return int(self.weight.shape[1])

    @property
    def live(self) -> int:
        """Weights that are not zero."""
        return int(np.count_nonzero(self.weight))

    @property
    def density(self) -> float:
        """Share of weights that are not zero."""
        return self.live / self.weight.size if self.weight.size else 0.0
