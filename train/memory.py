"""One face for networks with and without a memory, as on-policy learning uses them."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from ..policy.layers import Layers, Weights
from ..policy.network import State
from .off_actor import make_actor
from .stacked import Flat


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
    """Any layers without a recurrent one; by hand where they allow it."""

    def __init__(self, layers: Layers, generator: torch.Generator, device: torch.device, out_gain: float) -> None:
        self.inner = make_actor(layers, generator, device, out_gain)
        self.flat = self.inner.flat

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
