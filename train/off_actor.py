"""The actor of an off-policy learner: by hand where its layers allow it, through autograd otherwise."""

from __future__ import annotations

import torch
from torch import Tensor

from ..policy.layers import Activation, Layers, Linear, Weights
from ..policy.network import Network
from .actor import initialize
from .crew import Crew
from .flat import flatten
from .stacked import STACKABLE, Stack


class Actor:
    """x [n, in] -> y [n, out], parameters and gradient in ``flat``. This one takes any layers, through autograd."""

    def __init__(self, layers: Layers, generator: torch.Generator, device: torch.device, out_gain: float = 0.01) -> None:
        self.network = initialize(Network(layers), generator, out_gain).to(device)
        self.flat = flatten(self.network, device)
        self._y = torch.empty(0)

    def forward(self, x: Tensor) -> Tensor:
        """y, remembering what :meth:`backward` needs; the next call may overwrite it."""
        with torch.enable_grad():
            self._y = self.network(x)[0]
        return self._y.detach()

    def backward(self, dy: Tensor, first: int = 0) -> None:
        """Fill ``flat.gradient`` from dy [n, out], the loss's gradient by the rows of y from ``first`` on."""
        self.flat.gradient.zero_()
        with torch.enable_grad():
            self._y[first:].backward(dy)

    def weights(self) -> Weights:
        """Bundle tensors."""
        return self.network.to_weights()

    def load(self, weights: Weights) -> None:
        """The inverse of :meth:`weights`."""
        self.network.load_weights(weights)


class PlainActor:
    """The same for linear layers with one kind of activation between them, by hand."""

    def __init__(
        self, layers: Layers, generator: torch.Generator, device: torch.device, out_gain: float = 0.01, crew: Crew | None = None
    ) -> None:
        linear = [layer for layer in layers if isinstance(layer, Linear)]
        functions = [layer.function for layer in layers if isinstance(layer, Activation)]
        sizes = (linear[0].in_size, *(layer.out_size for layer in linear))
        self.stack = Stack(1, sizes, functions[0] if functions else "relu", device, crew)
        self.flat, self.names = self.stack.flat, [layer.name for layer in linear]
        self.load(initialize(Network(layers), generator, out_gain).to_weights())

    def forward(self, x: Tensor) -> Tensor:
        """y, remembering what :meth:`backward` needs; the next call for as many rows overwrites it."""
        return self.stack.forward(x)[0]

    def backward(self, dy: Tensor, first: int = 0) -> None:
        """Fill ``flat.gradient`` from dy [n, out], the loss's gradient by the rows of y from ``first`` on."""
        self.stack.backward(dy[None], first)

    def weights(self) -> Weights:
        """Bundle tensors."""
        weights: Weights = {}
        for name, values in zip(self.names, self.flat.values, strict=True):
            weights[f"{name}.weight"] = values[0, :-1].T.contiguous().cpu().numpy().copy()
            weights[f"{name}.bias"] = values[0, -1].cpu().numpy().copy()
        return weights

    def load(self, weights: Weights) -> None:
        """The inverse of :meth:`weights`."""
        for name, values in zip(self.names, self.flat.values, strict=True):
            values[0, :-1] = torch.from_numpy(weights[f"{name}.weight"]).T
            values[0, -1] = torch.from_numpy(weights[f"{name}.bias"])


def is_plain(layers: Layers) -> bool:
    """A chain of float32 linear layers with biases, the same one of :data:`~pilotfish.train.stacked.STACKABLE` between all."""
    linear, between = layers[::2], layers[1::2]
    functions = {layer.function if isinstance(layer, Activation) else "" for layer in between}
    return (
        len(linear) == len(between) + 1
        and all(isinstance(layer, Linear) and layer.bias and layer.weight_bits == 32 for layer in linear)
        and len(functions) < 2
        and functions <= set(STACKABLE)
    )


def make_actor(
    layers: Layers, generator: torch.Generator, device: torch.device, out_gain: float = 0.01, crew: Crew | None = None
) -> Actor | PlainActor:
    """By hand where the layers are plain; a ``crew`` may share the work on wide ones."""
    with torch.random.fork_rng(devices=[]):
        if is_plain(layers):
            return PlainActor(layers, generator, device, out_gain, crew)
        return Actor(layers, generator, device, out_gain)
