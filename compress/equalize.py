"""Channels of like range before rounding: the function stays, and a row of weights needs no step for its widest input alone.

Between linear layers with nothing but a ReLU, a channel may be divided by any s > 0 in the first layer if the second multiplies
by it (Nagel et al. 2019, cross-layer equalization). At the observation an affine layer divides. What s to take is a matter of
what shall be rounded well: with s the range of the channel (power 1), all inputs have the same range and every weight is
rounded by what it contributes; with power 0 nothing changes (SmoothQuant, Xiao et al. 2023, calls the power alpha). Here each
place gets the power with which the recorded actions change least.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from ..policy import Golden, Policy
from ..policy.grid import Quantize
from ..policy.layers import Activation, Affine, Layers, Linear, Weights
from .activations import layer_inputs
from .matrices import on_any_grid
from .replay import Replay

POWERS = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Candidates, from none to all of a channel's range."""
NARROWEST = 1e-4
"""No channel counts as narrower than this share of the widest."""
HOMOGENEOUS = ("relu", "leaky_relu")
"""Functions for which f(s x) = s f(x) for s > 0."""


def places(policy: Policy) -> list[int]:
    """Indices of linear layers whose inputs can be divided: the one that reads the observation, and those behind a ReLU."""
    layers, found = policy.layers, []
    first = next((i for i, layer in enumerate(layers) if on_any_grid(layer)), None)
    for index, layer in enumerate(layers):
        if not isinstance(layer, Linear):
            continue
        before = layers[index - 1] if index else None
        behind_relu = isinstance(before, Activation) and before.function in HOMOGENEOUS
        rounded = any(isinstance(other, Quantize) for other in layers[:index])
        if (index == first and not rounded) or (behind_relu and index > 1 and isinstance(layers[index - 2], Linear)):
            found.append(index)
    return found


def equalized(policy: Policy, powers: Mapping[int, float], reach: Mapping[int, np.ndarray]) -> Policy:
    """The same function with the inputs of the linear layers ``powers`` divided by ``reach`` to that power.

    ``reach``: index -> largest size of every input in the recording, float64 [in].
    """
    weights: Weights = dict(policy.weights)
    layers = list(policy.layers)
    for index in sorted(powers, reverse=True):  # an affine layer moves those behind it
        if not powers[index]:
            continue
        layer = layers[index]
        assert isinstance(layer, Linear)
        divisor = sizes(reach[index]) ** powers[index]
        name = f"{layer.name}.weight"
        weights[name] = (weights[name].astype(np.float64) * divisor).astype(np.float32)
        source = layers[index - 2] if index > 1 else None
        if isinstance(layers[index - 1], Activation) and index and isinstance(source, Linear):
            for tensor, factor in (("weight", divisor[:, None]), ("bias", divisor)):
                if (full := f"{source.name}.{tensor}") in weights:
                    weights[full] = (weights[full].astype(np.float64) / factor).astype(np.float32)
        else:
            affine = Affine(affine_name(policy, layer), layer.in_size)
            weights[f"{affine.name}.scale"] = (1 / divisor).astype(np.float32)
            weights[f"{affine.name}.offset"] = np.zeros(layer.in_size, np.float32)
            layers.insert(index, affine)
    return policy.replace(layers=tuple(layers), weights=weights, golden=None)


def sizes(reach: np.ndarray) -> np.ndarray:
    """``reach`` over its geometric mean, float64 [in]; 1 for one that stood still in the recording and may move some day."""
    widest = float(reach.max(initial=0.0))
    if not widest:
        return np.ones(len(reach))
    size = np.maximum(reach, NARROWEST * widest)
    middle = np.exp(np.log(size[reach > 0]).mean())
    return np.where(reach > 0, size, middle) / middle


def least_moved(
    policy: Policy, golden: Golden, rounded: Callable[[Policy], tuple[Layers, Weights]], replay: Replay
) -> tuple[Policy, dict[str, float]]:
    """(the equalized policy, layer -> power): each place in turn gets the power with which rounding changes the actions least.

    ``rounded``: policy -> its layers and weights on grids.
    """
    spots = places(policy)
    inputs = layer_inputs(policy, golden, set(spots))
    reach = {index: np.abs(values).max(axis=0).astype(np.float64) for index, values in inputs.items()}
    powers = dict.fromkeys(spots, 0.0)
    best = replay.error(*rounded(policy))
    for index in spots:
        for power in POWERS[1:]:
            tried = powers | {index: power}
            error = replay.error(*rounded(equalized(policy, tried, reach)))
            if error < best:
                best, powers = error, tried
    named = {policy.layers[index].name: power for index, power in powers.items()}  # type: ignore[union-attr]
    return equalized(policy, powers, reach), named


def affine_name(policy: Policy, layer: Linear) -> str:
    """A free name for an affine layer before ``layer``."""
    names, name = {getattr(other, "name", "") for other in policy.layers}, f"{layer.name[:50]}_channels"
    while name in names:
        name += "_"
    return name
