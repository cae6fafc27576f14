"""The Pareto front of (kept, cost): kept is a share of the teacher's return, more is better; cost is any, less is better."""

from __future__ import annotations

import math
from collections.abc import Sequence

Point = tuple[float, float]
"""(kept, cost)"""


def dominates(one: Point, other: Point) -> bool:
    """At least as good in both, better in one."""
    return one[0] >= other[0] and one[1] <= other[1] and one != other


def front(points: Sequence[Point]) -> list[int]:
    """Indices of the points that no other dominates, by cost; of equal points the first."""
    best, kept = [], -math.inf
    for index in sorted(range(len(points)), key=lambda i: (points[i][1], -points[i][0], i)):
        if points[index][0] > kept:
            kept = points[index][0]
            best.append(index)
    return best


def hypervolume(points: Sequence[Point], floor: float, ceiling: float) -> float:
    """The area that ``points`` dominate: kept above ``floor`` times decades of cost below ``ceiling``.

    Costs of policies lie decades apart, so their logarithm counts: one unit is the teacher's whole return at a tenth of the cost
    of the reference point.
    """
    volume, reached = 0.0, floor
    for index in front(points):  # from cheap to dear, ever better
        kept, cost = points[index]
        if kept > reached and cost < ceiling:
            volume += (kept - reached) * math.log10(ceiling / cost)
            reached = kept
    return volume


def gain(points: Sequence[Point], point: Point, floor: float, ceiling: float) -> float:
    """What ``point`` would add to the hypervolume."""
    return hypervolume([*points, point], floor, ceiling) - hypervolume(points, floor, ceiling)
