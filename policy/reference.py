"""The plain numpy forward pass: the truth in a few lines, and what devices without torch compare with."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import BadInput
from .bundle import Policy
from .cells import GRU, LSTM, CfC
from .conv import Conv2d, patches
from .grid import Quantize
from .hashed import places
from .layers import Activation, Affine, Clip, HashedLinear, History, Layer, LayerNorm, Linear, TiedLinear

GELU_SLOPE = 1.5957691216057308
"""2 sqrt(2 / pi): gelu's tanh form is x * sigmoid(GELU_SLOPE * (x + 0.044715 x^3)) (Hendrycks and Gimpel 2016)."""
SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805
"""Klambauer et al. 2017."""


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1.0 + np.tanh(0.5 * x))


def activate(function: str, x: np.ndarray, alpha: float) -> np.ndarray:
    """Apply one of :data:`pilotfish.policy.layers.ActivationName` elementwise."""
    match function:
        case "tanh":
            return np.tanh(x)
        case "relu":
            return np.maximum(x, 0)
        case "elu":
            return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))
        case "silu":
            return x * _sigmoid(x)
        case "sigmoid":
            return _sigmoid(x)
        case "softsign":
            return x / (1 + np.abs(x))
        case "leaky_relu":
            return np.where(x > 0, x, alpha * x)
        case "gelu":
            return x * _sigmoid(GELU_SLOPE * (x + 0.044715 * x**3))
        case "selu":
            return SELU_SCALE * np.where(x > 0, x, SELU_ALPHA * np.expm1(np.minimum(x, 0)))
        case "softplus":
            return np.logaddexp(0, x)
        case "mish":
            return x * np.tanh(np.logaddexp(0, x))
        case "hardswish":
            return x * np.clip(x / 6 + 0.5, 0, 1)
    raise ValueError(f"no activation {function!r}")


class Reference:
    """A policy as plain numpy, one observation at a time, stateful like any session.

    ``dtype`` float32 mirrors the torch reference; float64 gives the ground truth that error bounds refer to.
    """

    def __init__(self, policy: Policy, dtype: type[np.floating[Any]] = np.float32) -> None:
        self.policy, self.contract, self.dtype = policy, policy.contract, dtype
        self._tensors: dict[str, np.ndarray] = {}
        for name, tensor in policy.weights.items():
            if name.endswith("_scale"):
                continue
            scale = policy.weights.get(f"{name}_scale")
            wide = tensor.astype(dtype)
            self._tensors[name] = wide if scale is None else wide * scale.astype(dtype)[:, None]
        for layer in policy.layers:
            if isinstance(layer, HashedLinear):
                entry, sign = places(layer.out_size, layer.in_size, layer.size, layer.chunk, layer.seed)
                self._tensors[f"{layer.name}.weight"] = self._tensors.pop(f"{layer.name}.store")[entry] * sign.astype(dtype)
        normalizer = self.contract.observation.normalizer
        if normalizer:
            variance = np.asarray(normalizer.variance)
            inside, eps = normalizer.epsilon_inside_sqrt, normalizer.epsilon
            spread = np.sqrt(variance + eps) if inside else np.sqrt(variance) + eps
            self._mean, self._inverse = np.asarray(normalizer.mean, dtype), (1 / spread).astype(dtype)
        action = self.contract.action
        self._scale, self._offset = np.asarray(action.scale or 1, dtype), np.asarray(action.offset or 0, dtype)
        self.reset()

    def reset(self) -> None:
        """Start an episode: every state tensor goes back to zero."""
        self._state = {s.name: np.zeros(s.size, self.dtype) for s in self.contract.state}

    @property
    def state(self) -> np.ndarray:
        """All state tensors concatenated in contract order, [S]."""
        return np.concatenate([self._state[s.name] for s in self.contract.state] or [np.zeros(0, self.dtype)])

    @state.setter
    def state(self, flat: np.ndarray) -> None:
        ends = np.cumsum([s.size for s in self.contract.state])[:-1]
        parts = np.split(np.asarray(flat, self.dtype), ends)
        self._state = {s.name: part for s, part in zip(self.contract.state, parts, strict=False)}

    def act(self, obs: np.ndarray) -> np.ndarray:
        """obs [observation size] -> action: float [action size], or int64 [1] if discrete."""
        x = np.asarray(obs, np.float32).astype(self.dtype)
        if x.shape != (self.contract.observation.size,):
            raise BadInput(
                self.policy.name,
                expected=f"an observation of shape ({self.contract.observation.size},)",
                found=f"shape {x.shape}",
            )
        normalizer = self.contract.observation.normalizer
        if normalizer:
            x = (x - self._mean) * self._inverse
            if normalizer.clip is not None:
                x = np.clip(x, -normalizer.clip, normalizer.clip)
        for layer in self.policy.layers:
            x = self._layer(layer, x)
        action = self.contract.action
        if action.kind == "discrete":
            return np.array([np.argmax(x)], np.int64)
        if action.squash == "tanh":
            x = np.tanh(x)
        x = x * self._scale + self._offset
        return np.clip(x, np.asarray(action.low, self.dtype), np.asarray(action.high, self.dtype)) if action.low else x

    def close(self) -> None:
        """Nothing to release; here so that a reference can stand wherever a session can."""

    def _layer(self, layer: Layer, x: np.ndarray) -> np.ndarray:
        tensor = self._tensors
        match layer:
            case Linear(name=name) | HashedLinear(name=name) | TiedLinear(name=name):
                y = tensor[f"{layer.like if isinstance(layer, TiedLinear) else name}.weight"] @ x
                return y + tensor[f"{name}.bias"] if layer.bias else y
            case Conv2d():
                return self._conv(layer, x)
            case Activation(function=function, alpha=alpha):
                return activate(function, x, alpha).astype(self.dtype)
            case LayerNorm(name=name, epsilon=epsilon):
                centred = x - x.mean()
                return (
                    centred / np.sqrt((centred**2).mean() + self.dtype(epsilon)) * tensor[f"{name}.weight"]
                    + tensor[f"{name}.bias"]
                )
            case Affine(name=name):
                return x * tensor[f"{name}.scale"] + tensor[f"{name}.offset"]
            case Clip(low=low, high=high):
                return np.clip(x, self.dtype(low), self.dtype(high))
            case Quantize():
                return self._on_steps(layer, x)
            case GRU():
                return self._gru(layer, x)
            case LSTM():
                return self._lstm(layer, x)
            case CfC():
                return self._cfc(layer, x)
            case History(name=name, size=size):
                self._state[f"{name}_past"] = np.concatenate([self._state[f"{name}_past"][size:], x])
                return self._state[f"{name}_past"]
        raise ValueError(f"no layer {layer!r}")

    def _conv(self, layer: Conv2d, x: np.ndarray) -> np.ndarray:
        weight, seen = self._tensors[f"{layer.name}.weight"], patches(layer, x)
        if layer.depthwise:
            y = np.einsum("pac,ca->pc", seen, weight)
        else:
            y = (weight @ seen.reshape(layer.pixels, -1).T).T
        return (y + self._tensors[f"{layer.name}.bias"] if layer.bias else y).reshape(-1)

    def _on_steps(self, grid: Quantize, x: np.ndarray) -> np.ndarray:
        step, zero = self.dtype(np.float32(grid.scale)), grid.zero_point
        return (np.clip(np.round(x / step) + zero, grid.low, grid.high) - zero).astype(self.dtype) * step

    def _gates(self, layer: GRU | LSTM, x: np.ndarray, h: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self._gate(layer, "ih", layer.rank_ih, x), self._gate(layer, "hh", layer.rank_hh, h)

    def _gate(self, layer: GRU | LSTM, part: str, rank: int | None, x: np.ndarray) -> np.ndarray:
        tensor, weight = self._tensors, f"{layer.name}.weight_{part}"
        if part == "hh" and layer.state_grid is not None:
            x = self._on_steps(layer.state_grid, x)
        y = tensor[weight] @ x if rank is None else tensor[f"{weight}_u"] @ (tensor[f"{weight}_v"] @ x)
        return y + tensor[f"{layer.name}.bias_{part}"]

    def _gru(self, layer: GRU, x: np.ndarray) -> np.ndarray:
        name = layer.name
        h = self._state[f"{name}_h"]
        from_input, from_state = (np.split(gate, 3) for gate in self._gates(layer, x, h))
        reset, update = (_sigmoid(a + b) for a, b in zip(from_input[:2], from_state[:2], strict=True))
        new = np.tanh(from_input[2] + reset * from_state[2])
        self._state[f"{name}_h"] = (1 - update) * new + update * h
        return self._state[f"{name}_h"]

    def _lstm(self, layer: LSTM, x: np.ndarray) -> np.ndarray:
        name = layer.name
        h, c = self._state[f"{name}_h"], self._state[f"{name}_c"]
        i, f, g, o = np.split(sum(self._gates(layer, x, h)), 4)
        c = _sigmoid(f) * c + _sigmoid(i) * np.tanh(g)
        self._state[f"{name}_c"], self._state[f"{name}_h"] = c, _sigmoid(o) * np.tanh(c)
        return self._state[f"{name}_h"]

    def _cfc(self, layer: CfC, x: np.ndarray) -> np.ndarray:
        name = layer.name

        def linear(part: str, x: np.ndarray) -> np.ndarray:
            return self._tensors[f"{name}.{part}_weight"] @ x + self._tensors[f"{name}.{part}_bias"]

        z = np.concatenate([x, self._state[f"{name}_h"]])
        for k in range(len(layer.backbone)):
            z = self.dtype(1.7159) * np.tanh(self.dtype(0.666) * linear(f"backbone{k}", z))
        gate = _sigmoid(linear("time_a", z) * self.dtype(layer.time_step) + linear("time_b", z))
        self._state[f"{name}_h"] = np.tanh(linear("ff1", z)) * (1 - gate) + np.tanh(linear("ff2", z)) * gate
        return self._state[f"{name}_h"]
