"""Networks that learn without autograd: flat parameters, Adam in one pass over them, gradients by hand in kept buffers.

For the small networks of control policies a step through autograd costs dispatch, fresh memory and passes over it as
much as arithmetic. Here k networks of one shape are one batched product per layer, and nothing is allocated twice.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

STACKABLE = ("relu", "tanh")
"""Activations whose derivative follows from their own output."""


class Flat:
    """Tensors of these shapes as views (``values``) of one float32 vector (``value``); ``gradients`` and ``gradient`` alike."""

    def __init__(self, shapes: Sequence[tuple[int, ...]], device: torch.device) -> None:
        sizes = [math.prod(shape) for shape in shapes]
        self.value, self.gradient = (torch.zeros(sum(sizes), device=device) for _ in range(2))
        self.values, self.gradients = (
            [part.view(shape) for part, shape in zip(whole.split(sizes), shapes, strict=True)]
            for whole in (self.value, self.gradient)
        )


class Adam:
    """Adam (Kingma and Ba 2014, arXiv 1412.6980; betas 0.9 and 0.999, epsilon 1e-8) over one :class:`Flat`."""

    def __init__(self, flat: Flat, rate: float) -> None:
        self.flat, self.rate = flat, rate
        self.first, self.second = torch.zeros_like(flat.value), torch.zeros_like(flat.value)
        self.count = torch.zeros((), device=flat.value.device)

    def step(self) -> None:
        """Move the values against the gradient."""
        self.count += 1
        # What torch.optim.Adam(fused=True) calls, without its bookkeeping, which costs as much again on small networks.
        torch._fused_adam_(
            [self.flat.value], [self.flat.gradient], [self.first], [self.second], [], [self.count], lr=self.rate,
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


class Stack:
    """k multi-layer perceptrons of one shape: x [n, sizes[0]] -> y [k, n, sizes[-1]]; the last layer is linear.

    Parameters are ``flat.values``: weights [k, in, out] and biases [k, 1, out] in turn. What :meth:`forward` gives is
    overwritten by its next call for as many rows, also one of another Stack that shares the ``buffers``.
    """

    def __init__(
        self, count: int, sizes: tuple[int, ...], activation: str, device: torch.device, buffers: Stack | None = None
    ) -> None:
        self.count, self.sizes, self.activation = count, sizes, activation
        shapes = [s for a, b in itertools.pairwise(sizes) for s in ((count, a, b), (count, 1, b))]
        self.flat = Flat(shapes, device)
        self.weights, self.biases = self.flat.values[::2], self.flat.values[1::2]
        self._buffers: dict[tuple[int, str], list[Tensor]] = {} if buffers is None else buffers._buffers
        self._seen: list[Tensor] = []
        self._single: dict[int, Stack] = {}

    def draw(self, generator: torch.Generator) -> None:
        """Uniform in +-1/sqrt(fan in), as torch.nn.Linear does; ``generator`` is a CPU one."""
        for weight, bias in zip(self.weights, self.biases, strict=True):
            bound = 1 / math.sqrt(weight.shape[1])
            for tensor in (weight, bias):
                tensor.copy_(torch.empty(tensor.shape).uniform_(-bound, bound, generator=generator))

    def only(self, index: int) -> Stack:
        """One of the k networks, with the same parameters; for gradients by its input (``columns``) alone."""
        if index not in self._single:
            single = self._single[index] = Stack.__new__(Stack)
            single.count, single.sizes, single.activation, single.flat = 1, self.sizes, self.activation, self.flat
            single.weights, single.biases = ([t[index : index + 1] for t in ts] for ts in (self.weights, self.biases))
            single._buffers, single._seen, single._single = {}, [], {}
        return self._single[index]

    def _kept(self, rows: int, what: str) -> list[Tensor]:
        if (rows, what) not in self._buffers:
            new = [self.flat.value.new_empty(self.count, rows, size) for size in self.sizes]
            self._buffers[rows, what] = new
        return self._buffers[rows, what]

    def forward(self, x: Tensor) -> Tensor:
        """x [n, sizes[0]] -> y [k, n, sizes[-1]], remembering x and the hidden layers for :meth:`backward`."""
        y = x.expand(self.count, -1, -1)
        self._seen = []
        for index, out in enumerate(self._kept(len(x), "forward")[1:]):
            self._seen.append(y)
            y = torch.baddbmm(self.biases[index], y, self.weights[index], out=out)
            if index < len(self.weights) - 1:
                y = torch.relu_(y) if self.activation == "relu" else torch.tanh_(y)
        return y

    def backward(self, dy: Tensor, first: int = 0, columns: int | None = None) -> Tensor | None:
        """dy [k, n, sizes[-1]], the loss's gradient by the rows of y from ``first`` on.

        columns None: fills ``flat.gradient``. A number: leaves that alone, and gives the loss's gradient by the last
        ``columns`` columns of x, summed over the k networks, [n, columns].
        """
        buffers = self._kept(dy.shape[1], "backward")
        for index in reversed(range(len(self.weights))):
            seen, weight = self._seen[index][:, first:], self.weights[index]
            if columns is None:
                torch.bmm(seen.mT, dy, out=self.flat.gradients[2 * index])
                torch.sum(dy, dim=1, keepdim=True, out=self.flat.gradients[2 * index + 1])
            if index == 0:
                break
            dx = torch.bmm(dy, weight.mT, out=buffers[index])
            if self.activation == "relu":
                dy = torch.ops.aten.threshold_backward.grad_input(dx, seen, 0, grad_input=dx)
            else:
                dy = torch.ops.aten.tanh_backward.grad_input(dx, seen, grad_input=dx)
        return None if columns is None else torch.bmm(dy, self.weights[0][:, -columns:].mT).sum(0)
