"""What a policy that was trained sparse says of itself, as a pass among its passes."""

from __future__ import annotations

import numpy as np
from pydantic import TypeAdapter

from ...policy.contract import PassRecord
from ...policy.layers import Weights
from .settings import Sparsity


def record(config: Sparsity, weights: Weights) -> PassRecord:
    """Method, settings, and how many of the weights of each matrix are not zero."""
    parameters, nonzero = (sum(count(tensor) for tensor in weights.values()) for count in (np.size, np.count_nonzero))
    matrices = {name: tensor for name, tensor in weights.items() if tensor.ndim == 2}
    size = sum(tensor.size for tensor in matrices.values())
    alive = {name: int(np.count_nonzero(tensor)) for name, tensor in matrices.items()}
    size_bytes = sum(tensor.nbytes for tensor in weights.values())
    changed = {
        "parameters": [parameters, parameters],
        "nonzero": [parameters, int(nonzero)],
        "weight_bytes": [size_bytes, size_bytes],
        "sparsity": round(1 - sum(alive.values()) / size, 6),
        "density_by_matrix": {name: round(number / matrices[name].size, 6) for name, number in alive.items()},
    }
    settings = TypeAdapter(Sparsity).dump_python(config, mode="json", exclude_none=True)
    return PassRecord("sparsity", settings, changed)
