"""Adam over several flat parameter vectors, with their common gradient norm clipped, in one pass."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .flat import Flat


class ClippedAdam:
    """Adam (Kingma and Ba 2014, arXiv 1412.6980); betas 0.9 and 0.999, epsilon 1e-5 as on-policy codes have it.

    Gradients whose norm over all vectors is above ``max_norm`` are scaled down to it first (Pascanu et al. 2013, arXiv
    1211.5063). Nothing here waits for the device.
    """

    def __init__(self, flats: list[Flat], max_norm: float) -> None:
        self.flats = [flat for flat in flats if flat.value.numel()]
        self.values = [flat.value for flat in self.flats]
        self.gradients = [flat.gradient for flat in self.flats]
        self.max_norm = max_norm
        self.first, self.second = ([torch.zeros_like(value) for value in self.values] for _ in range(2))
        self.counts = [torch.zeros((), device=value.device) for value in self.values]
        self.before_step: list[Callable[[], None]] = []
        """Called before each step: they may change values, gradients and moments."""

    def moments(self, flat: Flat) -> tuple[Tensor, Tensor]:
        """The two moments of one of the vectors."""
        index = [mine is flat for mine in self.flats].index(True)
        return self.first[index], self.second[index]

    def step(self, rate: float) -> None:
        """Move the values against the gradients."""
        for prepare in self.before_step:
            prepare()
        norm = torch.stack(torch._foreach_norm(self.gradients)).norm()
        # The fused kernel divides every gradient by this number while it reads it: clipping costs no pass of its own.
        divisor = ((norm + 1e-6) / self.max_norm).clamp_(min=1.0)
        torch._foreach_add_(self.counts, 1)
        torch._fused_adam_(
            self.values, self.gradients, self.first, self.second, [], self.counts, lr=rate, beta1=0.9, beta2=0.999,
            weight_decay=0.0, eps=1e-5, amsgrad=False, maximize=False, grad_scale=divisor,
        )  # fmt: skip

    def state(self) -> dict[str, Any]:
        """Values and moments, copied."""
        parts = {"value": self.values, "first": self.first, "second": self.second, "count": self.counts}
        return {name: [tensor.clone() for tensor in tensors] for name, tensors in parts.items()}

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state`."""
        for name, mine in (("value", self.values), ("first", self.first), ("second", self.second), ("count", self.counts)):
            for tensor, kept in zip(mine, state[name], strict=True):
                tensor.copy_(kept)
