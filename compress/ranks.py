"""Ranks of several layers at once, as low as a tolerated change of the action allows."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..policy import Golden, Policy
from ..policy.layers import Linear
from .action_error import action_error
from .activations import network_outputs
from .lowrank import Factors, largest_useful_rank

STEP = 0.85
"""Each rank that is looked at is about so many times the one before: a rank more or less is worth no evaluation."""
AHEAD = 4
"""Lower ranks of each layer that are compared at every turn."""


def ladder(largest: int) -> list[int]:
    """Ranks from ``largest`` down to 1, each about STEP times the one before."""
    rungs = [largest] if largest > 0 else []
    while rungs and rungs[-1] > 1:
        rungs.append(min(rungs[-1] - 1, round(STEP * rungs[-1])))
    return rungs


def ranks_within(
    policy: Policy, factors: Mapping[int, Factors], golden: Golden, tolerance: float | None
) -> tuple[dict[int, int], float]:
    """(rank of each layer that is factorized, by index; the action error that they make together on the recorded rollout).

    Greedy: of all layers and their next lower ranks, the one that adds least squared error per weight that it frees is
    taken, as long as the action error stays within ``tolerance``.
    """
    limit = tolerance if tolerance is not None else 0.0
    wanted = network_outputs(policy, golden)
    names = {index: policy.layers[index].name for index in factors}  # type: ignore[union-attr]
    rungs = {index: ladder(largest_useful_rank(_linear(policy, index))) for index in factors}
    weights, ranks, error = dict(policy.weights), dict[int, int](), 0.0
    while True:
        best: tuple[float, int, int, float, np.ndarray] | None = None
        for index, part in factors.items():
            layer = _linear(policy, index)
            now = ranks[index] * (layer.in_size + layer.out_size) if index in ranks else layer.in_size * layer.out_size
            lower = [rank for rank in rungs[index] if rank < ranks.get(index, np.inf)]
            for rank in lower if index not in ranks else lower[:AHEAD]:
                left, right = part.cut(rank)
                tried = policy.replace(weights=weights | {f"{names[index]}.weight": left @ right})
                found = action_error(policy, wanted, network_outputs(tried, golden))
                if found > limit:
                    break  # a lower rank of the same layer is worse
                price = (found**2 - error**2) / (now - rank * (layer.in_size + layer.out_size))
                if best is None or price < best[0]:
                    best = (price, index, rank, found, left @ right)
        if best is None:
            return ranks, error
        _, index, ranks[best[1]], error, weights[f"{names[best[1]]}.weight"] = best


def _linear(policy: Policy, index: int) -> Linear:
    layer = policy.layers[index]
    assert isinstance(layer, Linear)
    return layer
