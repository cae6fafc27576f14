"""The network that will fly: its layers, its first weights, and the policy that is made from it."""

from __future__ import annotations

import itertools
import math

import torch

from ..policy.cells import GRU, LSTM, CfC
from ..policy.conv import Conv2d
from ..policy.layers import Activation, Clip, Layer, LayerNorm, Layers, Linear, tensor_shapes
from ..policy.network import Network

CELLS: dict[str, type[GRU] | type[LSTM] | type[CfC]] = {"gru": GRU, "lstm": LSTM, "cfc": CfC}
_CLIPS = {"relu6": Clip(0.0, 6.0), "hardtanh": Clip(-1.0, 1.0)}
_GAINS = {"tanh": 5 / 3, "relu": math.sqrt(2), "leaky_relu": math.sqrt(2), "elu": math.sqrt(2), "silu": math.sqrt(2)}


def network_layers(
    obs_size: int,
    hidden: tuple[int, ...],
    activation: str,
    layer_norm: bool,
    out_size: int,
    recurrent: tuple[str, int] | None = None,
    convolutions: Layers = (),
) -> Layers:
    """A multi-layer perceptron obs -> hidden… -> out, with any activation that the settings know.

    ``recurrent`` (a name in :data:`CELLS`, width) puts such a cell first, and ``convolutions`` that give ``obs_size`` numbers
    go in front of all.
    """
    layers: list[Layer] = [*convolutions]
    width = obs_size
    if recurrent is not None:
        kind, size = recurrent
        layers.append(CELLS[kind](name=kind, in_size=width, hidden_size=size))
        width = size
    for index, size in enumerate(hidden):
        layers.append(Linear(f"hidden{index}", width, size))
        if layer_norm:
            layers.append(LayerNorm(f"norm{index}", size))
        layers.append(function(activation))
        width = size
    return (*layers, Linear("out", width, out_size))


def function(activation: str) -> Layer:
    """The layer of an activation that the settings know."""
    return _CLIPS.get(activation) or Activation(activation)  # type: ignore[arg-type]


@torch.no_grad()
def initialize(network: Network, generator: torch.Generator, out_gain: float | None = 0.01) -> Network:
    """Orthogonal matrices, zero biases, a small last layer: the first actions are near the middle of their range.

    ``out_gain`` None: the last linear layer is a hidden one like the others. What matters in on-policy training, by
    Andrychowicz et al. 2020 (arXiv 2006.05990, section 3.2).
    """
    linear = [layer for layer in network.layers if isinstance(layer, Linear)]
    functions = [layer.function for layer in network.layers if isinstance(layer, Activation)]
    gain = _GAINS.get(functions[0], 1.0) if functions else 1.0
    for layer in linear:
        weight = getattr(network, f"{layer.name}__weight")
        torch.nn.init.orthogonal_(weight, gain if out_gain is None or layer is not linear[-1] else out_gain, generator=generator)
        if layer.bias:
            torch.nn.init.zeros_(getattr(network, f"{layer.name}__bias"))
    for kernels in network.layers:
        if isinstance(kernels, Conv2d):
            torch.nn.init.orthogonal_(getattr(network, f"{kernels.name}__weight"), gain, generator=generator)
            if kernels.bias:
                torch.nn.init.zeros_(getattr(network, f"{kernels.name}__bias"))
    for cell in network.layers:
        if isinstance(cell, GRU | LSTM | CfC):
            bound = 1 / math.sqrt(cell.hidden_size)
            for name, (shape, _) in tensor_shapes(cell).items():
                matrix = getattr(network, name.replace(".", "__"), None)  # a low-rank network draws its own
                if matrix is not None and len(shape) == 2:
                    torch.nn.init.uniform_(matrix, -bound, bound, generator=generator)
    return network


def mlp(sizes: tuple[int, ...], activation: type[torch.nn.Module], generator: torch.Generator) -> torch.nn.Sequential:
    """A plain critic sizes[0] -> … -> sizes[-1], orthogonal, last layer of gain 1."""
    modules: list[torch.nn.Module] = []
    for index, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
        layer = torch.nn.Linear(fan_in, fan_out)
        final = index == len(sizes) - 2
        torch.nn.init.orthogonal_(layer.weight, 1.0 if final else math.sqrt(2), generator=generator)
        torch.nn.init.zeros_(layer.bias)
        modules += [layer] if final else [layer, activation()]
    return torch.nn.Sequential(*modules)
