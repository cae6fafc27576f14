"""Parameters and gradients as one vector each: a network is copied, followed, clipped and stepped in one pass over it."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn


class Flat:
    """Tensors of these shapes as views (``values``) of one float32 vector (``value``); ``gradients`` and ``gradient`` alike.

    With ``count``: of as many networks, whose parameters lie one network after the other; the views are [count, *shape].
    """

    def __init__(self, shapes: Sequence[tuple[int, ...]], device: torch.device, count: int | None = None) -> None:
        self.shapes, self.count, self.device = [tuple(shape) for shape in shapes], count, device
        self._sizes = [math.prod(shape) for shape in self.shapes]
        size = sum(self._sizes) * (1 if count is None else count)
        self.value, self.gradient = (torch.zeros(size, device=device) for _ in range(2))
        self.values, self.gradients = self.views(self.value), self.views(self.gradient)

    def views(self, whole: Tensor) -> list[Tensor]:
        """The tensors in a vector like ``value``."""
        rows = whole.view(1 if self.count is None else self.count, sum(self._sizes))
        parts = [part.unflatten(1, shape or (1,)) for part, shape in zip(rows.split(self._sizes, 1), self.shapes, strict=True)]
        if self.count is None:
            return [part[0].view(shape) for part, shape in zip(parts, self.shapes, strict=True)]
        return parts


class Adam:
    """Adam (Kingma and Ba 2014, arXiv 1412.6980; betas 0.9 and 0.999, epsilon 1e-8) over one :class:`Flat`."""

    def __init__(self, flat: Flat, rate: float) -> None:
        self.flat, self.rate = flat, rate
        self.first, self.second = torch.zeros_like(flat.value), torch.zeros_like(flat.value)
        networks = flat.count or 1
        self.count = torch.zeros(networks, device=flat.device)
        self.before_step: Callable[[int | None], None] | None = None
        """Called with ``row`` before each step: it may change values, gradient and moments."""
        moved = (flat.value, flat.gradient, self.first, self.second)
        self._whole = [[part] for part in moved]
        self._each = [[[part.chunk(networks)[row]] for part in moved] for row in range(networks)]

    def step(self, row: int | None = None) -> None:
        """Move the values against the gradient: of one network, or of all if they have moved equally often."""
        if self.before_step is not None:
            self.before_step(row)
        count = self.count if row is None else self.count[row]
        count += 1
        value, gradient, first, second = self._whole if row is None else self._each[row]
        # What torch.optim.Adam(fused=True) calls, without its bookkeeping, which costs as much again on small networks.
        torch._fused_adam_(
            value, gradient, first, second, [], [self.count[row or 0]], lr=self.rate,
            beta1=0.9, beta2=0.999, weight_decay=0.0, eps=1e-8, amsgrad=False, maximize=False,
        )  # fmt: skip

    def state(self) -> dict[str, Any]:
        """Values and moments."""
        return {
            "value": self.flat.value.clone(),
            "first": self.first.clone(),
            "second": self.second.clone(),
            "count": self.count.clone(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state`."""
        for mine, name in ((self.flat.value, "value"), (self.first, "first"), (self.second, "second"), (self.count, "count")):
            mine.copy_(state[name])


def flatten(module: nn.Module, device: torch.device) -> Flat:
    """The parameters of ``module``, which from here on are views of the result, gradients included."""
    parameters = list(module.parameters())
    flat = Flat([tuple(parameter.shape) for parameter in parameters], device)
    for parameter, value, gradient in zip(parameters, flat.values, flat.gradients, strict=True):
        value.copy_(parameter.detach())
        parameter.data, parameter.grad = value, gradient
    return flat
