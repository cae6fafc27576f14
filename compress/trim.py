"""trim: hidden units that pruning left without inputs or without outputs are taken out, exactly."""

from __future__ import annotations

import dataclasses
from typing import Literal

import numpy as np
from pydantic.dataclasses import dataclass

from ..policy import Policy
from ..policy.grid import Quantize
from ..policy.layers import Activation, Clip, Layer, Layers, Linear, TiedLinear, Weights
from ..policy.reference import activate
from .activations import network_outputs, probes
from .passes import STRICT, Context, Pass, PassResult, Promise
from .requirements import float_weights, linear_layers

TOLERANCE = 1e-4
"""Largest change of an output, relative to the largest output: float32 sums in another order, no more."""


@dataclass(frozen=True, config=STRICT)
class Trim:
    """Removes dead hidden units between linear layers: the function stays, the layers become narrower.

    A unit whose incoming weights are all zero is a constant: it moves into the next layer's bias. A unit whose
    outgoing weights are all zero is not heard. Taking one out may leave others dead, so this repeats until none is.
    """

    kind: Literal["trim"] = "trim"


def _run(policy: Policy, _: Trim, __: Context) -> PassResult:
    layers, weights = policy.layers, dict(policy.weights)
    removed: dict[str, int] = {}
    while True:
        dead = _next_dead(layers, weights)
        if dead is None:
            break
        first, second, units = dead
        name = layers[first].name  # type: ignore[union-attr]
        layers, weights = _without(layers, weights, first, second, units)
        removed[name] = removed.get(name, 0) + len(units)
    return PassResult(policy.replace(layers=layers, weights=weights, golden=None), {"removed_units": removed})


def linear_pairs(layers: Layers) -> list[tuple[int, int]]:
    """Indices of linear layers with nothing but elementwise functions between them; their weights are nobody else's."""
    shared = {layer.like for layer in layers if isinstance(layer, TiedLinear)}
    pairs, last = [], None
    for index, layer in enumerate(layers):
        if isinstance(layer, Linear) and layer.name not in shared:
            if last is not None:
                pairs.append((last, index))
            last = index
        elif not isinstance(layer, Activation | Clip | Quantize):
            last = None
    return pairs


def _next_dead(layers: Layers, weights: Weights) -> tuple[int, int, np.ndarray] | None:
    """(first layer, second layer, indices of dead units between them); None where there are none left."""
    for first, second in linear_pairs(layers):
        incoming = weights[f"{layers[first].name}.weight"]  # type: ignore[union-attr]
        outgoing = weights[f"{layers[second].name}.weight"]  # type: ignore[union-attr]
        dead: np.ndarray = np.asarray(~incoming.any(axis=1) | ~outgoing.any(axis=0))
        if dead.all():
            dead[0] = False  # a layer keeps one unit: a width of zero is no network
        if dead.any():
            return first, second, np.flatnonzero(dead)
    return None


def _without(layers: Layers, weights: Weights, first: int, second: int, units: np.ndarray) -> tuple[Layers, Weights]:
    """The network without ``units``, their constant contribution folded into the second layer's bias."""
    one, two = layers[first], layers[second]
    assert isinstance(one, Linear)
    assert isinstance(two, Linear)
    weights = dict(weights)
    kept = np.setdiff1d(np.arange(one.out_size), units)
    constant = weights[f"{one.name}.bias"][units].astype(np.float64) if one.bias else np.zeros(len(units))
    for layer in layers[first + 1 : second]:
        constant = _elementwise(layer, constant)
    outgoing = weights[f"{two.name}.weight"]
    shift = outgoing[:, units].astype(np.float64) @ constant
    bias = two.bias or bool(shift.any())
    if bias:
        old = weights.get(f"{two.name}.bias", np.zeros(two.out_size, np.float32))
        weights[f"{two.name}.bias"] = (old + shift).astype(np.float32)
    weights[f"{one.name}.weight"] = np.ascontiguousarray(weights[f"{one.name}.weight"][kept])
    if one.bias:
        weights[f"{one.name}.bias"] = weights[f"{one.name}.bias"][kept]
    weights[f"{two.name}.weight"] = np.ascontiguousarray(outgoing[:, kept])
    new = list(layers)
    new[first] = dataclasses.replace(one, out_size=len(kept))
    new[second] = dataclasses.replace(two, in_size=len(kept), bias=bias)
    return tuple(new), weights


def _elementwise(layer: Layer, x: np.ndarray) -> np.ndarray:
    """What an elementwise layer makes of constants."""
    if isinstance(layer, Activation):
        return activate(layer.function, x, layer.alpha)
    if isinstance(layer, Clip):
        return np.clip(x, layer.low, layer.high)
    assert isinstance(layer, Quantize)
    return (np.clip(np.round(x / layer.scale) + layer.zero_point, layer.low, layer.high) - layer.zero_point) * layer.scale


def _changed_function(before: Policy, result: PassResult, _: Trim) -> str:
    """Compare network outputs y (before the action transform, which could hide a change) on recorded or random observations."""
    golden = probes(before, 256)
    old, new = network_outputs(before, golden), network_outputs(result.policy, golden)
    error = float(np.abs(old - new).max())
    return f"a change of {error:.2e}" if error > TOLERANCE * max(1.0, float(np.abs(old).max())) else ""


TRIM = Pass(
    "trim",
    Trim,
    _run,
    requires=(linear_layers, float_weights),
    ensures=(Promise("the network computes the same function", _changed_function),),
)
