"""Putting a recovered signal together: the contract's normalizer, the network, the action transform."""

from __future__ import annotations

import dataclasses

import numpy as np

from ..bundle import Policy
from ..cells import GRU, LSTM
from ..contract import Action, Contract, Normalizer, Observation, Provenance, Timing
from ..layers import Activation, Affine, Clip, Layer, LayerNorm, Linear, Weights
from .signal import Signal, Step
from .source import Source

_PREFIX = {Linear: "hidden", LayerNorm: "norm", Affine: "affine", GRU: "memory", LSTM: "memory"}


def assemble(
    source: Source, obs_size: int, signal: Signal, provenance: Provenance, *, discrete: bool = False, units: str = ""
) -> Policy:
    """The policy that ``signal`` computes from an observation of ``obs_size`` entries.

    Leading scale-and-shift (and a symmetric clip behind it) becomes the contract's normalizer; a trailing
    tanh, scale-and-shift and clip become its action transform. Both compute what the foreign network computed.
    """
    steps = list(signal.steps)
    normalizer = _take_normalizer(steps)
    action = (
        Action("discrete", signal.width, units=units, distribution="largest output")
        if discrete
        else _take_action(steps, signal.width, units)
    )
    layers, weights = _named(steps)
    if not provenance.normalizer_source:
        origin = "inside the network" if normalizer else "none: the network takes the observation as it is"
        provenance = dataclasses.replace(provenance, normalizer_source=origin)
    contract = Contract(
        observation=Observation(size=obs_size, normalizer=normalizer),
        action=action,
        timing=Timing(control_hz=source.control_hz),
        provenance=provenance,
    )
    return Policy(source.name, contract, layers, weights)


def _take_normalizer(steps: list[Step]) -> Normalizer | None:
    """Remove a leading affine step with positive scale, and a symmetric clip behind it: (x - mean) / sqrt(variance)."""
    if len(steps) < 2 or not isinstance(steps[0].layer, Affine):
        return None
    scale, offset = steps[0].tensors["scale"], steps[0].tensors["offset"]
    with np.errstate(all="ignore"):
        mean, variance = -offset / scale, 1 / scale**2
    if not ((scale > 0).all() and np.isfinite(mean).all() and np.isfinite(variance).all()):
        return None
    del steps[0]
    clip = None
    if isinstance(steps[0].layer, Clip) and steps[0].layer.low == -steps[0].layer.high and steps[0].layer.high > 0:
        clip = steps.pop(0).layer.high  # type: ignore[union-attr]
    return Normalizer(tuple(mean.tolist()), tuple(variance.tolist()), epsilon=0.0, clip=clip)


def _take_action(steps: list[Step], size: int, units: str) -> Action:
    """Remove a trailing tanh, affine and clip (in this order, each may be missing) behind the last linear layer."""
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    scale: tuple[float, ...] = ()
    offset: tuple[float, ...] = ()
    squash = False
    if len(steps) > 1 and isinstance(layer := steps[-1].layer, Clip):
        low, high = (layer.low,) * size, (layer.high,) * size
        steps.pop()
    if len(steps) > 1 and isinstance(steps[-1].layer, Affine):
        tensors = steps.pop().tensors
        scale, offset = tuple(tensors["scale"].tolist()), tuple(tensors["offset"].tolist())
    if len(steps) > 1 and isinstance(layer := steps[-1].layer, Activation) and layer.function == "tanh":
        squash = True
        steps.pop()
    return Action(
        "continuous",
        size,
        squash="tanh" if squash else "none",
        scale=scale,
        offset=offset,
        low=low,
        high=high,
        units=units,
        distribution="output of the network as it was exported",
    )


def _named(steps: list[Step]) -> tuple[tuple[Layer, ...], Weights]:
    """Layers with names (hidden0, norm1, memory0, output …) and their tensors under those names."""
    layers: list[Layer] = []
    weights: Weights = {}
    last = max((i for i, step in enumerate(steps) if isinstance(step.layer, Linear)), default=-1)
    counts: dict[str, int] = {}
    for index, step in enumerate(steps):
        prefix = _PREFIX.get(type(step.layer))
        if prefix is None:
            layers.append(step.layer)
            continue
        number = counts.get(prefix, 0)
        counts[prefix] = number + 1
        name = "output" if index == last and index >= len(steps) - 2 else f"{prefix}{number}"
        layers.append(dataclasses.replace(step.layer, name=name))  # type: ignore[arg-type]
        weights |= {f"{name}.{short}": np.ascontiguousarray(tensor, np.float32) for short, tensor in step.tensors.items()}
    return tuple(layers), weights
