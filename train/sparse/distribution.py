"""How many weights each layer keeps, so that the sum is exact and a falling sum never raises a layer; numpy alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

Scope = Literal["global", "uniform", "erdos-renyi"]
"""global: one ranking over all layers, so the layers' shares follow from the weights; uniform: the same density in each;
erdos-renyi: density of a layer proportional to (in + out) / (in * out), at most 1, so that narrow layers stay dense."""


def kept_in_all(sizes: Sequence[int], sparsity: float) -> int:
    """The number of weights that are kept of all of them: the rest is the nearest whole number to sparsity * sum."""
    total = sum(sizes)
    return total - round(sparsity * total)


def kept_by_layer(shapes: Sequence[tuple[int, int]], kept: int, scope: Literal["uniform", "erdos-renyi"]) -> list[int]:
    """Weights that each layer keeps, with ``kept`` in all; ``shapes`` are (in, out).

    uniform: in proportion to in * out. erdos-renyi: in proportion to in + out, which is the density (in + out) / (in * out)
    of Mocanu et al. 2018 (arXiv 1707.04780) and of Evci et al. 2020 (arXiv 1911.11134); a layer that is full gives the
    rest to the others. Whole numbers by Sainte-Lague's rule: each weight goes to the layer that is furthest behind its
    share. So the sum is exact, no layer gets more than it has, and with a smaller ``kept`` no layer gets more than before
    (rounding layer by layer keeps neither promise). Every layer keeps at least one weight while there is one for each.
    Raises ValueError for a ``kept`` that is negative or more than there are.
    """
    sizes = [fan_in * fan_out for fan_in, fan_out in shapes]
    if not 0 <= kept <= sum(sizes):
        raise ValueError(f"kept must be 0 to {sum(sizes)}, the number of weights, not {kept}")
    if not sizes:
        return []
    turns = []
    for (fan_in, fan_out), size in zip(shapes, sizes, strict=True):
        turn = (np.arange(size) + 0.5) / (size if scope == "uniform" else fan_in + fan_out)
        turn[:1] = 0.0  # the first weight of every layer comes before all others
        turns.append(turn)
    layer = np.repeat(np.arange(len(sizes)), sizes)
    first = np.argsort(np.concatenate(turns), kind="stable")[:kept]
    return [int(n) for n in np.bincount(layer[first], minlength=len(sizes))]


def densities(shapes: Sequence[tuple[int, int]], sparsity: float, scope: Literal["uniform", "erdos-renyi"]) -> list[float]:
    """Share of each layer's weights that is kept at this sparsity of the whole, in [0, 1]."""
    sizes = [fan_in * fan_out for fan_in, fan_out in shapes]
    kept = kept_by_layer(shapes, kept_in_all(sizes, sparsity), scope)
    return [number / size for number, size in zip(kept, sizes, strict=True)]
