"""Which hidden units stay: by width, by one ranking over all layers, or within a number of parameters."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from ..policy.layers import Layers
from .importance import Scores
from .units import at_widths, hidden_groups, parameters

Kept = dict[str, np.ndarray]
"""Name of a group of hidden units -> indices of those that stay, ascending."""


def widths_of(layers: Layers) -> dict[str, int]:
    """Name of each group of hidden units -> how many there are."""
    return {group.name: group.size for group in hidden_groups(layers)}


def keep_widths(scores: Scores, widths: Mapping[str, int]) -> Kept:
    """The best so many of each group; all of a group that is not named or has no more."""
    return {name: np.sort(_best_first(score)[: max(1, widths.get(name, len(score)))]) for name, score in scores.items()}


def keep_best(scores: Scores, count: int) -> Kept:
    """The best ``count`` of all units, and the best one of every group however low it ranks."""
    safe = {name: int(_best_first(score)[0]) for name, score in scores.items()}
    rest = [
        (-value, number, name, unit)
        for number, (name, score) in enumerate(scores.items())
        for unit, value in enumerate(score.tolist())
        if unit != safe[name]
    ]
    stay: dict[str, list[int]] = {name: [unit] for name, unit in safe.items()}
    for _, _, name, unit in sorted(rest)[: max(0, count - len(safe))]:
        stay[name].append(unit)
    return {name: np.sort(np.array(units)) for name, units in stay.items()}


def keep_within(layers: Layers, scores: Scores, budget: int) -> Kept:
    """The units of the lowest scores leave, whichever group they are in, until ``budget`` parameters are left.

    Scores, not scores per freed parameter: those feed on themselves, because the narrower a layer the less a unit of its
    neighbour frees (tried on a policy of [256, 256]: [246, 10] at 7,000 parameters, and a fall). One unit per group stays.
    """
    count = sum(len(score) for score in scores.values())
    low, high = len(scores), count  # more units never make fewer parameters
    while low < high:
        middle = (low + high + 1) // 2
        kept = keep_best(scores, middle)
        if parameters(at_widths(layers, {name: len(units) for name, units in kept.items()})) <= budget:
            low = middle
        else:
            high = middle - 1
    return keep_best(scores, low)


def share_within(layers: Layers, budget: int) -> float:
    """Largest share of every group's units with which the network has at most ``budget`` parameters."""
    sizes = widths_of(layers)
    low, high = 0.0, 1.0
    if parameters(layers) <= budget:
        return high
    for _ in range(40):
        middle = (low + high) / 2
        fits = parameters(at_widths(layers, {name: max(1, round(middle * size)) for name, size in sizes.items()})) <= budget
        low, high = (middle, high) if fits else (low, middle)
    return low


def _best_first(score: np.ndarray) -> np.ndarray:
    """Indices by falling score; of equals the earlier one first."""
    return np.argsort(-score, kind="stable")
