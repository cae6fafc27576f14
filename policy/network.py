"""The torch twin of a policy's layers: trainable, batched."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .cells import GRU, LSTM, CfC
from .conv import Conv2d
from .grid import Quantize
from .hashed import places
from .layers import (
    Activation,
    Affine,
    Clip,
    HashedLinear,
    History,
    Layer,
    LayerNorm,
    Layers,
    Linear,
    TiedLinear,
    Weights,
    matrix_bits,
    state_of,
    tensor_shapes,
)
from .narrow import STRETCH, best_step, on_grid, stretched
from .torch_activations import ACTIVATIONS
from .torch_conv import convolve
from .torch_grids import half, int8_rows, on_steps, straight_through

State = tuple[Tensor, ...]
"""Recurrent tensors [B, size] in contract order; empty for feed-forward networks."""


def _key(parameter: str) -> str:
    """The bundle's name of a parameter: the last "__" is the dot (a layer's own name may hold others)."""
    layer, _, tensor = parameter.rpartition("__")
    return f"{layer}.{tensor}"


class Network(nn.Module):
    """The layers of a policy as torch parameters. Normalized observation [B, in] -> y [B, out].

    Parameters keep their bundle names with "." as "__". Weights on a grid are trained as float32, straight through it, so
    ``to_weights`` gives back exactly what the forward pass used. With 8 bits a row's step follows its largest weight; with
    fewer it is learned (:mod:`.narrow`), by a parameter NAME_stretch that no bundle holds.
    """

    def __init__(self, layers: Layers, weights: Weights | None = None) -> None:
        super().__init__()
        self.layers = layers
        self._int8: set[str] = set()
        self._maps: dict[HashedLinear, tuple[Tensor, Tensor]] = {}
        self._narrow: dict[str, int] = {}
        self._half: set[str] = set()
        for layer in layers:
            bits = matrix_bits(layer)
            for name, (shape, _) in tensor_shapes(layer).items():
                if name.removesuffix("_scale") in bits and name not in bits:
                    continue
                value = self._initial(layer, name, shape)
                self.register_parameter(name.replace(".", "__"), nn.Parameter(value))
                if bits.get(name, 32) == 8:
                    self._int8.add(name)
                elif bits.get(name, 32) == 16:
                    self._half.add(name)
                elif bits.get(name, 32) < 8:
                    self._narrow[name] = bits[name]
                    self._put_step(name, best_step(value, bits[name]) if weights is None else torch.ones(shape[0]))
        if weights is not None:
            self.load_weights(weights)

    @staticmethod
    def _initial(layer: Layer, name: str, shape: tuple[int, ...]) -> Tensor:
        tensor = name.rpartition(".")[2]
        if tensor in ("scale",) or (isinstance(layer, LayerNorm) and tensor == "weight"):
            return torch.ones(shape)
        if isinstance(layer, HashedLinear) and tensor == "store":
            bound = 1 / np.sqrt(layer.in_size)
            return torch.empty(shape).uniform_(-bound, bound)
        if len(shape) == 2:
            bound = 1 / np.sqrt(layer.hidden_size if isinstance(layer, GRU | LSTM) else shape[1])
            return torch.empty(shape).uniform_(-bound, bound)
        return torch.zeros(shape)

    @torch.no_grad()
    def load_weights(self, weights: Weights) -> None:
        """Copy bundle tensors in; int8 tensors are dequantized onto their grid."""
        for name, parameter in self.named_parameters():
            key = _key(name)
            if key.endswith(STRETCH):
                continue
            value = torch.from_numpy(np.ascontiguousarray(weights[key])).float()
            if key in self._int8 or key in self._narrow:
                value = value * torch.from_numpy(weights[f"{key}_scale"])[:, None]
            if key in self._narrow:
                self._put_step(key, torch.from_numpy(weights[f"{key}_scale"]).clone())
            parameter.copy_(value)

    @torch.no_grad()
    def to_weights(self) -> Weights:
        """Bundle tensors: float32, or int8 with float32 row scales."""
        weights: Weights = {}
        for name, parameter in self.named_parameters():
            key, value = _key(name), parameter.detach().cpu()
            if key.endswith(STRETCH):
                continue
            if key in self._narrow:
                step = self._step(key).cpu()
                q = on_grid(value, step, self._narrow[key])[0]
                weights[key], weights[f"{key}_scale"] = q.to(torch.int8).numpy(), step.numpy()
            elif key in self._half:
                weights[key] = half(value).to(torch.float16).numpy()
            elif key in self._int8:
                q, scale = int8_rows(value)
                weights[key], weights[f"{key}_scale"] = q.to(torch.int8).numpy(), scale.numpy()
            else:
                weights[key] = value.numpy().copy()
        return weights

    def tensor(self, name: str) -> Tensor:
        """A parameter as the forward pass sees it: on the int8 grid where the layer says so."""
        parameter = getattr(self, name.replace(".", "__"))
        if name in self._narrow:
            return on_grid(parameter, self._step(name), self._narrow[name])[1]
        if name in self._half:
            return straight_through(half(parameter), parameter)
        if name not in self._int8:
            return parameter
        q, scale = int8_rows(parameter)
        return straight_through(q * scale[:, None], parameter)

    def _put_step(self, name: str, step: Tensor) -> None:
        """A row's step is ``step`` times e^stretch; the stretch begins at 0, so that what was loaded is what is used."""
        plain = name.replace(".", "__")
        device = getattr(self, plain).device
        self.register_buffer(f"{plain}_step", step.to(device))
        if hasattr(self, f"{plain}{STRETCH}"):
            getattr(self, f"{plain}{STRETCH}").zero_()
        else:
            self.register_parameter(f"{plain}{STRETCH}", nn.Parameter(torch.zeros(len(step), device=device)))

    def _step(self, name: str) -> Tensor:
        """float32 [rows]: the step of every row as trained so far."""
        plain = name.replace(".", "__")
        return stretched(getattr(self, f"{plain}_step"), getattr(self, f"{plain}{STRETCH}"), getattr(self, plain).shape[1])

    def initial_state(self, batch: int) -> State:
        """Zero state for ``batch`` episodes, on the parameters' device."""
        first = next(self.parameters(), None)
        device = None if first is None else first.device
        return tuple(torch.zeros(batch, tensor.size, device=device) for tensor in state_of(self.layers))

    def forward(self, x: Tensor, state: State = ()) -> tuple[Tensor, State]:
        """One decision for a batch: (y [B, out], next state)."""
        return self._run(self.layers, x, state)

    def through(self, layer: Layer, x: Tensor, state: State) -> tuple[Tensor, State]:
        """One of the layers alone, for a batch: (its output, its next state)."""
        return self._run((layer,), x, state)

    def after(self, x: Tensor, first: int) -> Tensor:
        """What the layers from number ``first`` on, none of them recurrent, make of x [B, width] -> y [B, out]."""
        return self._run(self.layers[first:], x, ())[0]

    def _run(self, layers: Layers, x: Tensor, state: State) -> tuple[Tensor, State]:
        left, following = list(state), []
        for layer in layers:
            match layer:
                case Linear(name=name):
                    x = F.linear(x, self.tensor(f"{name}.weight"), self.tensor(f"{name}.bias") if layer.bias else None)
                case HashedLinear(name=name):
                    x = F.linear(x, self._hashed(layer), self.tensor(f"{name}.bias") if layer.bias else None)
                case TiedLinear(name=name, like=like):
                    x = F.linear(x, self.tensor(f"{like}.weight"), self.tensor(f"{name}.bias") if layer.bias else None)
                case Conv2d(name=name):
                    x = convolve(layer, x, self.tensor(f"{name}.weight"), self.tensor(f"{name}.bias") if layer.bias else None)
                case Activation(function=function, alpha=alpha):
                    x = ACTIVATIONS[function](x, alpha)
                case LayerNorm(name=name, size=size, epsilon=epsilon):
                    x = F.layer_norm(x, (size,), self.tensor(f"{name}.weight"), self.tensor(f"{name}.bias"), epsilon)
                case Affine(name=name):
                    x = x * self.tensor(f"{name}.scale") + self.tensor(f"{name}.offset")
                case Clip(low=low, high=high):
                    x = x.clamp(low, high)
                case Quantize():
                    x = on_steps(layer, x)
                case GRU():
                    x = self._gru(layer, x, left.pop(0))
                    following.append(x)
                case LSTM():
                    x, cell = self._lstm(layer, x, left.pop(0), left.pop(0))
                    following += [x, cell]
                case CfC():
                    x = self._cfc(layer, x, left.pop(0))
                    following.append(x)
                case History(size=size):
                    x = torch.cat([left.pop(0)[..., size:], x], dim=-1)
                    following.append(x)
        return x, tuple(following)

    def _hashed(self, layer: HashedLinear) -> Tensor:
        """The weight [out, in] that a store stands for."""
        store = self.tensor(f"{layer.name}.store")
        known = self._maps.get(layer)
        if known is None or known[0].device != store.device:
            entry, sign = places(layer.out_size, layer.in_size, layer.size, layer.chunk, layer.seed)
            known = torch.from_numpy(entry.copy()).to(store.device), torch.from_numpy(sign.copy()).to(store.device)
            self._maps[layer] = known
        return store[known[0]] * known[1]

    def _gates(self, layer: GRU | LSTM, x: Tensor, h: Tensor) -> tuple[Tensor, Tensor]:
        return self._gate(layer, "ih", layer.rank_ih, x), self._gate(layer, "hh", layer.rank_hh, h)

    def _gate(self, layer: GRU | LSTM, part: str, rank: int | None, x: Tensor) -> Tensor:
        t, weight, bias = self.tensor, f"{layer.name}.weight_{part}", self.tensor(f"{layer.name}.bias_{part}")
        if part == "hh" and layer.state_grid is not None:
            x = on_steps(layer.state_grid, x)
        if rank is None:
            return F.linear(x, t(weight), bias)
        return F.linear(F.linear(x, t(f"{weight}_v")), t(f"{weight}_u"), bias)

    def _gru(self, layer: GRU, x: Tensor, h: Tensor) -> Tensor:
        from_input, from_state = (gate.chunk(3, dim=-1) for gate in self._gates(layer, x, h))
        reset, update = (torch.sigmoid(a + b) for a, b in zip(from_input[:2], from_state[:2], strict=True))
        new = torch.tanh(from_input[2] + reset * from_state[2])
        return (1 - update) * new + update * h

    def _lstm(self, layer: LSTM, x: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        from_input, from_state = self._gates(layer, x, h)
        i, f, g, o = (from_input + from_state).chunk(4, dim=-1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        return torch.sigmoid(o) * torch.tanh(c), c

    def _cfc(self, layer: CfC, x: Tensor, h: Tensor) -> Tensor:
        def linear(part: str, x: Tensor) -> Tensor:
            return F.linear(x, self.tensor(f"{layer.name}.{part}_weight"), self.tensor(f"{layer.name}.{part}_bias"))

        z = torch.cat([x, h], dim=-1)
        for k in range(len(layer.backbone)):
            z = 1.7159 * torch.tanh(0.666 * linear(f"backbone{k}", z))
        gate = torch.sigmoid(linear("time_a", z) * layer.time_step + linear("time_b", z))
        return torch.tanh(linear("ff1", z)) * (1 - gate) + torch.tanh(linear("ff2", z)) * gate
