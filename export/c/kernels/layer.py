"""What a dense layer computes, apart from how: the common noun of all kernels."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ....policy.layers import HashedLinear
from ..graph import Node
from .matrix import Matrix


@dataclass(frozen=True)
class DenseLayer(Matrix):
    """y[o] = f(bias[o] + scale[o] * sum_i weight[o][i] * x[i])"""

    name: str
    """Name of the weights, for the C tables and the list of choices."""
    weight: np.ndarray
    """float32, float16 or int8 [out, in]."""
    scale: np.ndarray | None
    """float32 [out] of int8 weights; None: float weights."""
    bias: np.ndarray
    """float32 [out]."""
    activation: Node | None = None
    """A fused elementwise node f with one input; None: identity."""
    hashed: HashedLinear | None = None
    """The layer whose store ``weight`` showed when it was read; a rewrite may have changed it since."""
    shared: bool = False
    """True: another layer has the same weight, so a table of it should hold nothing else."""
