"""Weight matrices of a network: which there are, their float32 values, and which entries are not zero."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeGuard

import numpy as np

from ..policy import Policy
from ..policy.cells import GRU, LSTM, CfC, cell_matrices
from ..policy.conv import Conv2d
from ..policy.layers import Layer, Layers, Linear, Weights, matrix_bits, tensor_shapes

Masks = dict[str, np.ndarray]
"""Matrix name -> bool [out, in], True where the entry may be other than zero."""


def on_any_grid(layer: Layer) -> TypeGuard[Linear | Conv2d | GRU | LSTM]:
    """Has the layer weights that may lie on a grid? Those of a depthwise convolution are too few."""
    return isinstance(layer, Linear | GRU | LSTM) or (isinstance(layer, Conv2d) and not layer.depthwise)


def matrices(layers: Layers) -> list[str]:
    """Names of the 2-D weights in layer order: what quantization acts on; biases, norms and depthwise kernels are not among
    them."""
    names: list[str] = []
    for layer in layers:
        if isinstance(layer, GRU | LSTM):
            names += cell_matrices(layer)
        elif on_any_grid(layer):
            names.append(f"{layer.name}.weight")
    return names


def prunable(layers: Layers) -> list[str]:
    """Names of all weights that may be pruned, in layer order: :func:`matrices`, and those of CfC cells, which have no grids."""
    names: list[str] = []
    for layer in layers:
        cfc = [name for name in tensor_shapes(layer) if name.endswith("_weight")] if isinstance(layer, CfC) else []
        names += [*matrices((layer,)), *cfc]
    return names


def dense(weights: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    """A matrix as float32 [out, in], taken off its int8 grid where it is on one."""
    scale = weights.get(f"{name}_scale")
    wide = weights[name].astype(np.float32)
    return wide if scale is None else wide * scale[:, None]


def nonzero_masks(layers: Layers, weights: Weights) -> Masks:
    """Where each matrix is not zero."""
    return {name: weights[name] != 0 for name in prunable(layers)}


def pruned_masks(policy: Policy) -> Masks:
    """Where each matrix may be other than zero: where it is not zero now, except that rounding to a grid prunes nothing.

    On a grid of fewer than 8 bits many small weights are 0, which training must be free to move. So a mask leaves such a matrix
    open, unless the ``quantize`` pass recorded that it had zeros before.
    """
    records = [record for record in policy.contract.provenance.passes if record.name == "quantize"]
    sparse = records[-1].changed.get("zeros", {}) if records else {}
    masks = nonzero_masks(policy.layers, policy.weights)
    for layer in policy.layers:
        for name, bits in matrix_bits(layer).items():
            if bits < 8 and not sparse.get(name):
                masks[name] = np.ones_like(masks[name])
    return masks


def zeros(masks: Mapping[str, np.ndarray]) -> int:
    """How many entries are zero (False) in all."""
    return sum(int(mask.size - np.count_nonzero(mask)) for mask in masks.values())


def entries(masks: Mapping[str, np.ndarray]) -> int:
    """How many entries there are in all."""
    return sum(mask.size for mask in masks.values())
