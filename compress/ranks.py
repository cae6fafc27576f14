"""Ranks of several matrices at once, as low as a tolerated change of the action allows."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..policy import Golden, Policy
from .action_error import action_error
from .activations import network_outputs
from .lowrank import Factors, largest_useful_rank

STEP = 0.85
"""Each rank that is looked at is about so many times the one before: a rank more or less is worth no evaluation."""
AHEAD = 4
"""Lower ranks of each matrix that are compared at every turn."""


def ladder(largest: int) -> list[int]:
    """Ranks from ``largest`` down to 1, each about STEP times the one before."""
    rungs = [largest] if largest > 0 else []
    while rungs and rungs[-1] > 1:
        rungs.append(min(rungs[-1] - 1, round(STEP * rungs[-1])))
    return rungs


def ranks_within(
    policy: Policy, factors: Mapping[str, Factors], golden: Golden, tolerance: float
) -> tuple[dict[str, int], float]:
    """(rank of each matrix that is worth factors; the action error that they make together on the recorded rollout).

    Greedy: of all matrices and their next lower ranks, the one that adds least squared error per weight that it frees is
    taken, as long as the action error stays within ``tolerance``.
    """
    wanted = network_outputs(policy, golden)
    shapes = {name: (len(part.left), part.right.shape[1]) for name, part in factors.items()}
    rungs = {name: ladder(largest_useful_rank(*shape)) for name, shape in shapes.items()}
    weights, ranks, error = dict(policy.weights), dict[str, int](), 0.0
    while True:
        best: tuple[float, str, int, float, np.ndarray] | None = None
        for name, part in factors.items():
            rows, columns = shapes[name]
            now = ranks[name] * (rows + columns) if name in ranks else rows * columns
            lower = [rank for rank in rungs[name] if rank < ranks.get(name, np.inf)]
            for rank in lower if name not in ranks else lower[:AHEAD]:
                left, right = part.cut(rank)
                found = action_error(
                    policy, wanted, network_outputs(policy.replace(weights=weights | {name: left @ right}), golden)
                )
                if found > tolerance:
                    break  # a lower rank of the same matrix is worse
                price = (found**2 - error**2) / (now - rank * (rows + columns))
                if best is None or price < best[0]:
                    best = (price, name, rank, found, left @ right)
        if best is None:
            return ranks, error
        _, name, ranks[best[1]], error, weights[best[1]] = best
