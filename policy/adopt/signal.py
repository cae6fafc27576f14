"""A signal: the observation on its way through a foreign network, as the layers that it has passed so far.

Readers of graphs and of code follow the observation through them with these few operations. Signals are
immutable, so a value may branch (x and sigmoid(x)) and meet again (x * sigmoid(x) = silu). Batch is always 1:
at most one dimension differs from 1 whenever arithmetic happens, so a signal is a flat vector with a shape.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import numpy as np

from ..cells import GRU, LSTM
from ..layers import Activation, ActivationName, Affine, Clip, Layer, LayerNorm, Linear

FLOAT32_MAX = float(np.finfo(np.float32).max)


class Misfit(Exception):
    """An operation that the layers of :mod:`pilotfish.policy.layers` cannot express; the message says why."""


class WidthFound(Exception):
    """The first layer tells how long an observation of unknown length is; start again with ``size``."""

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self.size = size


@dataclass(frozen=True, eq=False)
class Step:
    """One layer on the way, with its tensors by short name (affine: float64, else float32)."""

    layer: Layer
    """The layer; its name is given when the network is put together."""
    tensors: dict[str, np.ndarray] = field(default_factory=dict)
    """Tensors without the layer's prefix."""
    states: tuple[Any, ...] = ()
    """Recurrent layers: where h (and c) come from, as the reader knows them."""


@dataclass(frozen=True, eq=False)
class Magnitude:
    """|x| or 1 + |x| on its way to become the denominator of a softsign."""

    of: Signal
    """x"""
    plus_one: bool = False
    """Whether 1 has been added."""


def as_vector(constant: Any, width: int) -> np.ndarray:
    """A scalar or a vector of ``width`` (with dimensions of 1 around it) as float64 [width]."""
    array = np.asarray(constant, np.float64).reshape(-1)
    if array.size not in (1, width):
        raise Misfit(f"a constant of shape {np.shape(constant)} beside {width} values")
    return np.broadcast_to(array, (width,)).copy()


def _blank(layer_type: Any, **fields: Any) -> Layer:
    return layer_type(name="unnamed", **fields)


@dataclass(frozen=True, eq=False)
class Signal:
    """The observation after ``steps``."""

    shape: tuple[int, ...]
    """Dimensions, batch 1 included; () while the length is unknown."""
    steps: tuple[Step, ...] = ()
    """Layers passed so far."""

    @property
    def width(self) -> int:
        """Number of values; 0 while unknown."""
        return math.prod(self.shape) if self.shape else 0

    def describe(self) -> str:
        """The way so far, for errors: "obs[48] -> linear 512 -> silu"."""
        parts = [f"obs{list(self.shape)}" if not self.steps else "obs"]
        for step in self.steps:
            size = getattr(step.layer, "out_size", None) or getattr(step.layer, "hidden_size", None)
            parts.append(getattr(step.layer, "function", step.layer.kind) + (f" {size}" if size else ""))
        return " -> ".join(parts)

    def _vector(self) -> int:
        if self.shape and sum(d != 1 for d in self.shape) > 1:
            raise Misfit(f"arithmetic on a value of shape {list(self.shape)} (flatten it first)")
        return self.width

    def _then(self, step: Step, width: int | None = None) -> Signal:
        shape = self.shape
        if width is not None and width != self.width:
            axis = next((i for i, d in enumerate(shape) if d != 1), len(shape) - 1)
            shape = tuple(width if i == axis else d for i, d in enumerate(shape))
        return Signal(shape, (*self.steps, step))

    def linear(self, weight: np.ndarray, bias: np.ndarray | None) -> Signal:
        """weight [out, in], bias [out]."""
        if weight.ndim != 2:
            raise Misfit(f"a matrix product with a constant of shape {weight.shape}")
        rows, columns = weight.shape
        self._meet(columns)
        tensors = {"weight": weight.astype(np.float32)}
        if bias is not None:
            tensors["bias"] = as_vector(bias, rows).astype(np.float32)
        layer = _blank(Linear, in_size=columns, out_size=rows, bias=bias is not None)
        return self._then(Step(layer, tensors), rows)

    def _meet(self, size: int) -> None:
        """Refuse a layer for another width; tell an unknown width."""
        if not self.shape:
            raise WidthFound(size)
        if self._vector() != size:
            raise Misfit(f"a layer of {size} inputs behind {self.width} values")

    def affine(self, scale: Any, offset: Any) -> Signal:
        """scale * x + offset, with scalars or vectors; merges with an affine step before it and with a missing bias."""
        if not self.shape:
            size = max(np.size(scale), np.size(offset))
            if size == 1:
                raise Misfit("a constant beside an observation of unknown length")
            raise WidthFound(size)
        width = self._vector()
        if width == 1 and max(np.size(scale), np.size(offset)) > 1:
            raise Misfit(f"a constant of {max(np.size(scale), np.size(offset))} values beside a single one")
        a, b = as_vector(scale, width), as_vector(offset, width)
        if not (np.isfinite(a).all() and np.isfinite(b).all()):
            raise Misfit("a constant that is NaN or infinite")
        last = self.steps[-1] if self.steps else None
        if last and isinstance(last.layer, Affine):
            a, b = last.tensors["scale"] * a, last.tensors["offset"] * a + b
            return replace(self, steps=(*self.steps[:-1], Step(last.layer, {"scale": a, "offset": b})))
        if last and isinstance(last.layer, Linear) and not last.layer.bias and (a == 1).all():
            layer = _blank(Linear, in_size=last.layer.in_size, out_size=width)
            return replace(self, steps=(*self.steps[:-1], Step(layer, last.tensors | {"bias": b.astype(np.float32)})))
        if last and isinstance(last.layer, LayerNorm) and (last.tensors["weight"] == 1).all():
            # A layer norm whose weight and bias came as operators of their own.
            merged = {"weight": a.astype(np.float32), "bias": (last.tensors["bias"] * a + b).astype(np.float32)}
            return replace(self, steps=(*self.steps[:-1], Step(last.layer, merged)))
        if last and isinstance(last.layer, LayerNorm) and (a == 1).all() and not last.tensors["bias"].any():
            merged = last.tensors | {"bias": b.astype(np.float32)}
            return replace(self, steps=(*self.steps[:-1], Step(last.layer, merged)))
        return self._then(Step(_blank(Affine, size=width), {"scale": a, "offset": b}))

    def activation(self, function: ActivationName, alpha: float = 1.0) -> Signal:
        """An elementwise function."""
        if not math.isfinite(alpha):
            raise Misfit(f"{function} with alpha {alpha}")
        return self._then(Step(Activation(function, float(alpha))))

    def clip(self, low: float | None, high: float | None) -> Signal:
        """Bounds; None or infinite: not bounded on that side."""
        low = max(-FLOAT32_MAX if low is None else float(low), -FLOAT32_MAX)
        high = min(FLOAT32_MAX if high is None else float(high), FLOAT32_MAX)
        if not low <= high:
            raise Misfit(f"a clip to [{low}, {high}]")
        if (low, high) == (-FLOAT32_MAX, FLOAT32_MAX):
            return self
        return self._then(Step(Clip(low, high)))

    def layer_norm(self, weight: Any, bias: Any, epsilon: float) -> Signal:
        """LayerNorm over the whole vector; weight and bias None: 1 and 0."""
        if not self.shape and weight is not None:
            raise WidthFound(int(np.size(weight)))
        width = self._vector()
        if not width or not 0 <= epsilon < math.inf:
            raise Misfit(f"a layer norm with epsilon {epsilon} over {width} values")
        tensors = {
            "weight": as_vector(1 if weight is None else weight, width).astype(np.float32),
            "bias": as_vector(0 if bias is None else bias, width).astype(np.float32),
        }
        return self._then(Step(_blank(LayerNorm, size=width, epsilon=float(epsilon)), tensors))

    def recurrent(self, layer_type: type[GRU] | type[LSTM], tensors: dict[str, np.ndarray], states: tuple[Any, ...]) -> Signal:
        """One GRU or LSTM layer, gates in torch's order; biases may be missing (then 0)."""
        gates = 3 if layer_type is GRU else 4
        w, r = tensors.get("weight_ih"), tensors.get("weight_hh")
        if w is None or r is None or w.ndim != 2 or r.ndim != 2:
            raise Misfit("a recurrent layer without two weight matrices")
        hidden = r.shape[1]
        if w.shape[0] != gates * hidden or r.shape[0] != gates * hidden or not hidden:
            raise Misfit(f"a recurrent layer with weights of shape {w.shape} and {r.shape}")
        self._meet(w.shape[1])
        complete = {name: tensors[name].astype(np.float32) for name in ("weight_ih", "weight_hh")}
        for name in ("bias_ih", "bias_hh"):
            bias = tensors.get(name)
            complete[name] = as_vector(0 if bias is None else bias, gates * hidden).astype(np.float32)
        return self._then(Step(_blank(layer_type, in_size=w.shape[1], hidden_size=hidden), complete, states), hidden)

    def take(self, start: int, stop: int) -> Signal:
        """Entries [start, stop); folded back into the linear layer that made them."""
        width = self._vector()
        start, stop, _ = slice(start, stop).indices(width)
        if stop <= start:
            raise Misfit("an empty slice")
        if (start, stop) == (0, width):
            return self
        kept: list[Step] = []
        for index in range(len(self.steps) - 1, -1, -1):
            step = self.steps[index]
            if isinstance(step.layer, Linear):
                tensors = {name: tensor[start:stop] for name, tensor in step.tensors.items()}
                layer = _blank(Linear, in_size=step.layer.in_size, out_size=stop - start, bias=step.layer.bias)
                steps = (*self.steps[:index], Step(layer, tensors), *reversed(kept))
                axis = next(i for i, d in enumerate(self.shape) if d != 1)
                return Signal(tuple(stop - start if i == axis else d for i, d in enumerate(self.shape)), steps)
            if isinstance(step.layer, Affine):
                part = {name: tensor[start:stop] for name, tensor in step.tensors.items()}
                kept.append(Step(_blank(Affine, size=stop - start), part))
            elif isinstance(step.layer, Activation | Clip):
                kept.append(step)
            else:
                break
        raise Misfit(f"a slice [{start}:{stop}] of {width} values that no linear layer made")

    def times(self, other: Signal) -> Signal:
        """x * sigmoid(x), in either order, is silu; no other product of two signals is a layer."""
        for x, gate in ((self, other), (other, self)):
            same = len(gate.steps) == len(x.steps) + 1 and all(a is b for a, b in zip(x.steps, gate.steps, strict=False))
            if same and isinstance(gate.steps[-1].layer, Activation) and gate.steps[-1].layer.function == "sigmoid":
                return x.activation("silu")
        raise Misfit("a product of two values that is no silu")

    def reshape(self, shape: tuple[int, ...]) -> Signal:
        """The same values under other dimensions; 0 keeps one, -1 is computed."""
        if not self.shape:
            return self
        wanted = [self.shape[i] if d == 0 and i < len(self.shape) else d for i, d in enumerate(shape)]
        if wanted.count(-1) == 1:
            rest = math.prod(d for d in wanted if d != -1)
            wanted[wanted.index(-1)] = self.width // rest if rest else 0
        if math.prod(wanted) != self.width or min(wanted, default=1) < 0:
            raise Misfit(f"a reshape from {list(self.shape)} to {list(shape)}")
        return replace(self, shape=tuple(wanted))


@dataclass(frozen=True, eq=False)
class StateOut:
    """The next value of one recurrent tensor; its hidden state may also go on as a signal."""

    signal: Signal
    """The signal right behind the layer that made it."""
    which: Literal["h", "c"]
    """Hidden or cell state."""

    @property
    def source(self) -> Any:
        """Where the same tensor came from, as the reader knows it."""
        return self.signal.steps[-1].states[0 if self.which == "h" else 1]


@dataclass(frozen=True, eq=False)
class Choice:
    """The index of the largest entry of a signal."""

    of: Signal
    """The scores."""
