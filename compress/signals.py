"""What every weight matrix of a policy is multiplied by while it replays recorded observations."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..policy import Golden, Policy
from ..policy.conv import Conv2d
from ..policy.reference import Reference

MOST_PATCHES = 40_000
"""About 90 MB for patches of 3 x 3 x 64."""


class _Overheard:
    """A matrix that notes the vectors it is multiplied by, or the columns of a matrix as rows: those of every so many calls."""

    def __init__(self, matrix: np.ndarray, every: int = 1) -> None:
        self.matrix, self.every, self.calls = matrix, every, 0
        self.heard: list[np.ndarray] = []

    def __matmul__(self, x: np.ndarray) -> np.ndarray:
        if self.calls % self.every == 0:
            self.heard.append(np.array(x.T))
        self.calls += 1
        return self.matrix @ x


def matrix_inputs(policy: Policy, golden: Golden) -> dict[str, np.ndarray]:
    """Name of each 2-D weight -> float32 [T, in], its inputs while ``policy`` sees the recorded observations.

    The plain reference acts, so every kind of layer is covered: cells step through the episodes as recorded, from zero
    state, and what their recurrent matrices read is the state *before* the step. A convolution reads a patch at every place of
    its kernel, [T * places, in]; of so many that more than MOST_PATCHES would be kept, evenly spread steps.
    """
    actor = Reference(policy)
    tensors: dict[str, Any] = actor._tensors
    images = {f"{layer.name}.weight": layer for layer in policy.layers if isinstance(layer, Conv2d)}
    deep = {name for name, layer in images.items() if layer.depthwise}
    every = {name: -(-len(golden) * layer.pixels // MOST_PATCHES) for name, layer in images.items()}
    ears = {
        name: _Overheard(tensor, every.get(name, 1)) for name, tensor in tensors.items() if tensor.ndim == 2 and name not in deep
    }
    tensors.update(ears)
    for obs, start in zip(golden.obs, golden.start, strict=True):
        if start:
            actor.reset()
        actor.act(obs)
    return {name: np.concatenate(ear.heard) if name in images else np.stack(ear.heard) for name, ear in ears.items()}
