"""What a candidate is worth, as one number: for samplers that know one objective only."""

from __future__ import annotations

import math
from collections.abc import Sequence

from .front import Point, front, hypervolume

BEYOND = 2.0
"""A candidate beyond a limit is worth less than any within them: shares of the return lie within 2 of each other."""


def worths(points: Sequence[Point | None], beyond: Sequence[float], floor: float) -> list[float]:
    """How much each of n candidates has added to the hypervolume of all; where it has added nothing, minus how far it is from
    adding anything (the uncrowded hypervolume improvement of Touré et al. 2019, arXiv 1904.08823).

    ``points``: (kept, cost), None where a candidate has none; ``beyond``: by how much limits are exceeded in all, 0 where none
    is: what is beyond a limit is worth less than whatever is not, and the less the farther it is. Distances are shares of the
    return and decades of cost.
    """
    good = [point for point, over in zip(points, beyond, strict=True) if point is not None and over <= 0]
    ceiling = 2 * max((cost for _, cost in good), default=1.0)
    counted = [point for point in good if point[0] > floor]
    best = [counted[index] for index in front(counted)]
    whole = hypervolume(best, floor, ceiling)
    found = []
    for point, over in zip(points, beyond, strict=True):
        if point is None or over > 0:
            found.append(-BEYOND - math.log1p(max(over, 0.0)))
        elif point in best:
            found.append(whole - hypervolume([one for one in best if one != point], floor, ceiling))
        else:
            found.append(-_distance(point, best, floor))
    return found


def _distance(point: Point, best: Sequence[Point], floor: float) -> float:
    """From a dominated point to the nearest place where it would not be: between two neighbours on the front, or beyond its
    ends; always above the floor."""
    kept = [floor, *(one for one, _ in best)]
    cost = [*(math.log10(one) for _, one in best), math.inf]
    return min(
        math.hypot(max(0.0, more - point[0]), max(0.0, math.log10(point[1]) - less))
        for more, less in zip(kept, cost, strict=True)
    )
