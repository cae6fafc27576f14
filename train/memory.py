"""One face for networks with and without a memory, as on-policy learning uses them."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from ..policy.layers import Weights
from ..policy.network import State
from .flat import Flat, flatten
from .off_actor import Actor, PlainActor
from .simba import SimBa


class Net(Protocol):
    """A network that learns; parameters and gradient are in ``flat``."""

    flat: Flat

    def initial_state(self, rows: int) -> State:
        """The memory at the start of an episode."""

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """One decision: x [B, in] -> (y [B, out], next state)."""

    def forward(self, x: Tensor, state: State, started: Tensor) -> Tensor:
        """With a memory x is [T, B, in] and y [T * B, out]; without one any [B, in] -> [B, out]. Overwritten by the next call."""

    def backward(self, dy: Tensor) -> None:
        """Fill ``flat.gradient`` from dy, the loss's gradient by what :meth:`forward` gave."""

    def weights(self) -> Weights:
        """Bundle tensors."""


class Memoryless:
    """A network whose rows are independent."""

    def __init__(self, inner: Actor | PlainActor | Simba) -> None:
        self.inner, self.flat = inner, inner.flat

    def initial_state(self, rows: int) -> State:
        """Nothing."""
        return ()

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """One decision."""
        return self.inner.forward(x), ()

    def forward(self, x: Tensor, state: State, started: Tensor) -> Tensor:
        """Rows are independent: neither ``state`` nor ``started`` matters."""
        return self.inner.forward(x)

    def backward(self, dy: Tensor) -> None:
        """For the rows of the last forward."""
        self.inner.backward(dy)

    def weights(self) -> Weights:
        """Bundle tensors."""
        return self.inner.weights()

    def load(self, weights: Weights) -> None:
        """The inverse of :meth:`weights`."""
        assert not isinstance(self.inner, Simba)  # a critic
        self.inner.load(weights)


class Simba:
    """One SimBa network as a critic, through autograd: x [n, in] -> y [n, 1]."""

    def __init__(self, size: int, hidden: tuple[int, ...], generator: torch.Generator, device: torch.device) -> None:
        self.network = SimBa(size, hidden[0], len(hidden), generator=generator).to(device)
        self.flat = flatten(self.network, device)
        self._y = torch.empty(0)

    def forward(self, x: Tensor) -> Tensor:
        """y, remembering what :meth:`backward` needs."""
        with torch.enable_grad():
            self._y = self.network(x)[0]
        return self._y.detach()

    def backward(self, dy: Tensor) -> None:
        """Fill ``flat.gradient``."""
        self.flat.gradient.zero_()
        with torch.enable_grad():
            self._y.backward(dy)

    def weights(self) -> Weights:
        """No bundle holds a critic."""
        return {}
