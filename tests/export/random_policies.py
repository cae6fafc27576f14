"""Policies made of random numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pilotfish.policy.bundle import Policy
from pilotfish.policy.contract import Action, Contract, Normalizer, Observation
from pilotfish.policy.layers import Layer, largest_integer, matrix_bits, tensor_shapes


def random_policy(
    layers: Sequence[Layer], in_size: int, out_size: int, seed: int, *, normalizer: bool = True, **action
) -> Policy:
    """A policy of these layers with weights of a sane size; ``action`` are fields of the contract's action."""
    rng = np.random.default_rng(seed)
    weights: dict[str, np.ndarray] = {}
    for layer in layers:
        shapes, bits = tensor_shapes(layer), matrix_bits(layer)
        for name, (shape, dtype) in shapes.items():
            if dtype == np.int8:
                most = largest_integer(bits[name])
                weights[name] = rng.integers(-most, most + 1, shape).astype(np.int8)
            elif name.endswith("_scale"):
                columns = shapes[name.removesuffix("_scale")][0][1]
                weights[name] = rng.uniform(0.2, 1.5, shape).astype(np.float32) / np.float32(
                    largest_integer(bits[name.removesuffix("_scale")]) * np.sqrt(columns)
                )
            else:
                spread = 1 / np.sqrt(shape[-1]) if len(shape) == 2 else 0.3
                centre = 1.0 if name.endswith((".scale",)) or (layer.kind == "layer_norm" and name.endswith("weight")) else 0.0
                weights[name] = (centre + spread * rng.normal(size=shape)).astype(dtype)
    if normalizer:
        norm = Normalizer(tuple(rng.normal(size=in_size)), tuple(rng.uniform(0.3, 4.0, in_size)), clip=5.0)
    else:
        norm = None
    action = {"kind": "continuous"} | action
    contract = Contract(Observation(in_size, normalizer=norm), Action(size=out_size, **action))
    return Policy(f"random-{seed}", contract, tuple(layers), weights)
