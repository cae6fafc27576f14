"""What every weight matrix of a policy is multiplied by while it replays recorded observations."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..policy import Golden, Policy
from ..policy.reference import Reference


class _Overheard:
    """A matrix that notes every vector it is multiplied by."""

    def __init__(self, matrix: np.ndarray) -> None:
        self.matrix = matrix
        self.heard: list[np.ndarray] = []

    def __matmul__(self, x: np.ndarray) -> np.ndarray:
        self.heard.append(np.array(x))
        return self.matrix @ x


def matrix_inputs(policy: Policy, golden: Golden) -> dict[str, np.ndarray]:
    """Name of each 2-D weight -> float32 [T, in], its inputs while ``policy`` sees the recorded observations.

    The plain reference acts, so every kind of layer is covered: cells step through the episodes as recorded, from zero
    state, and what their recurrent matrices read is the state *before* the step.
    """
    actor = Reference(policy)
    tensors: dict[str, Any] = actor._tensors
    ears = {name: _Overheard(tensor) for name, tensor in tensors.items() if tensor.ndim == 2}
    tensors.update(ears)
    for obs, start in zip(golden.obs, golden.start, strict=True):
        if start:
            actor.reset()
        actor.act(obs)
    return {name: np.stack(ear.heard) for name, ear in ears.items()}
