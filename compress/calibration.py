"""Grids for activations: ranges read from the inputs that linear layers got over a recorded rollout."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from ..policy import Policy
from ..policy.grid import Quantize
from ..policy.layers import Activation, Affine, Layer, Layers, Linear, Weights
from .equalize import affine_name, sizes
from .replay import Replay

Calibration = Literal["minmax", "percentile", "mse", "action"]
LEVELS = 255
"""Steps of an int8 grid from -128 to 127."""
BOUNDED = {"tanh": (-1.0, 1.0), "softsign": (-1.0, 1.0), "sigmoid": (0.0, 1.0)}
"""Limits of the functions that have some."""
NEARLY_ALL = 0.8
"""A recorded range that covers this share of a bounded function's is taken as the whole: layers with the same function then
share one grid, and on small processors one table, for at most a quarter more step."""
HEADROOM = 8.0
"""A 16-bit grid reaches this many times farther than what was recorded, or as far as the normalizer clips: its 65,536 steps
are fine enough for both."""
MARGIN = 1.2
"""Per-channel ranges of the observation reach this many times farther from their middle than what was recorded."""
SHARES = (1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 1.15)
"""Candidates for the end of a range, as shares of the recorded one."""
SWEEPS = 2
"""Times that the action calibration goes through all grids."""


def activation_grid(low: float, high: float) -> tuple[float, int]:
    """(scale, zero point) of the int8 grid that spans [low, high] and holds 0 exactly."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = float(np.float32((high - low) / LEVELS))
    if scale < np.finfo(np.float32).tiny:  # a subnormal step has no precision left to hold the range's ends
        scale = 1 / 128
    return scale, int(np.clip(round(-128 - low / scale), -128, 127))


def activation_range(values: np.ndarray, calibration: Calibration, percentile: float = 100.0) -> tuple[float, float]:
    """The range that calibration keeps of recorded activations, float32 [T, width].

    "mse": the shares of the recorded range whose int8 grid errs least, in squares, cut-off values included. "action" begins with
    the whole range, as "minmax" does (see :func:`least_action_error`).
    """
    if calibration == "percentile":
        low, high = np.percentile(values, [100 - percentile, percentile])
        return float(low), float(high)
    low, high = float(values.min()), float(values.max())
    if calibration != "mse":
        return low, high
    wide = values.astype(np.float64)
    tried = [(a * low, b * high) for a, b in _ends(low, high)]
    errors = [np.square(_rounded(wide, *activation_grid(*ends)) - wide).mean() for ends in tried]
    return tried[int(np.argmin(errors))]


def int16_grid(before: Layer | None, values: np.ndarray, clip: float | None) -> Quantize:
    """Symmetric, 16 bits: as far as a bounded function or a normalizer's ``clip`` goes, or well past what was recorded."""
    limit = HEADROOM * float(np.abs(values).max()) or 1.0
    if isinstance(before, Activation) and before.function in BOUNDED:
        clip = 1.0
    return Quantize(float(np.float32((limit if clip is None else min(limit, clip)) / 32767)), 0, 16)


def whole(before: Layer | None, low: float, high: float) -> tuple[float, float]:
    """The range of the bounded function before a grid, where the recorded one covers nearly all of it."""
    if isinstance(before, Activation) and before.function in BOUNDED:
        least, most = BOUNDED[before.function]
        if high - low >= NEARLY_ALL * (most - least):
            return least, most
    return low, high


def per_channel(policy: Policy, index: int, values: np.ndarray, calibration: Calibration, percentile: float) -> Policy:
    """The same function, in which each input of the linear layer ``index`` runs from -1 to 1 in the recording.

    ``values``: float32 [T, in], what the layer is fed. An affine layer brings every input to [-1, 1]; the weights and the bias
    take that back, so that one grid in between has a step per input: x = half * x' + middle, W' = W * half, b' = b + W middle.
    """
    layer = policy.layers[index]
    assert isinstance(layer, Linear)
    ranges = np.array([activation_range(column[:, None], calibration, percentile) for column in values.T])
    middle, half = ranges.mean(axis=1), MARGIN * (ranges[:, 1] - ranges[:, 0]) / 2
    half = sizes(half) * (np.exp(np.log(half[half > 0]).mean()) if half.any() else 1.0)
    name = affine_name(policy, layer)
    weight = policy.weights[f"{layer.name}.weight"].astype(np.float64)
    bias = policy.weights.get(f"{layer.name}.bias", np.zeros(layer.out_size)).astype(np.float64)
    weights = policy.weights | {
        f"{name}.scale": (1 / half).astype(np.float32),
        f"{name}.offset": (-middle / half).astype(np.float32),
        f"{layer.name}.weight": (weight * half).astype(np.float32),
        f"{layer.name}.bias": (bias + weight @ middle).astype(np.float32),
    }
    changed = (Affine(name, layer.in_size), dataclasses.replace(layer, bias=True))
    layers = (*policy.layers[:index], *changed, *policy.layers[index + 1 :])
    return policy.replace(layers=layers, weights=weights, golden=None)


def least_action_error(
    layers: Sequence[Layer], weights: Weights, ranges: Mapping[int, tuple[float, float]], replay: Replay
) -> tuple[Layers, list[float]]:
    """Coordinate descent over the ends of int8 grids: (layers, action error [before, after]).

    ``ranges``: index of a Quantize layer among ``layers`` -> the range to begin with. Each grid in turn gets the share of its
    range, at both ends or at one, with which the actions of the whole network change least; twice through all of them.
    """
    current = list(layers)
    first = best = replay.error(tuple(current), weights)
    for _ in range(SWEEPS):
        before = best
        for place, (low, high) in ranges.items():
            for a, b in _ends(low, high):
                tried = [*current]
                tried[place] = Quantize(*activation_grid(a * low, b * high))
                error = replay.error(tuple(tried), weights)
                if error < best:
                    best, current = error, tried
        if best == before:
            break
    return tuple(current), [first, best]


def _ends(low: float, high: float) -> list[tuple[float, float]]:
    """Shares of both ends to try; one end alone only where there are two."""
    pairs = [(share, share) for share in SHARES]
    if low < 0 < high:
        pairs += [(share, 1.0) for share in SHARES[1:]] + [(1.0, share) for share in SHARES[1:]]
    return pairs


def _rounded(x: np.ndarray, scale: float, zero: int) -> np.ndarray:
    return (np.clip(np.round(x / scale) + zero, -128, 127) - zero) * scale
