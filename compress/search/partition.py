"""A learned partition of the space, after LaNAS (Wang et al. 2019, arXiv 1906.06832).

A tree whose every node divides what falls into it by a plane: a linear regression of the worth over the encoded genes, and the
mean worth as its threshold, so that one side is the good one. The tree is grown anew from all candidates. A region is chosen from
the root down by the upper confidence bound (UCB1), so that poor regions are visited now and then, and a candidate is drawn evenly
from what the planes leave over.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

FEWEST = 6
"""Candidates that a region must hold to be divided."""
DEEPEST = 5
"""Planes one behind the other, as in the paper."""
EXPLORE = 0.2
"""Weight of the confidence bound, as a share of the spread of all worths."""
RIDGE = 0.1
"""Of the regressions: they have few candidates, and as many genes."""
DRAWS = 512
"""Even draws among which one that lies in the region is looked for."""


@dataclass(frozen=True, eq=False)
class Plane:
    """``normal`` [size] . point > ``threshold``: the good side."""

    normal: np.ndarray
    threshold: float

    def above(self, points: np.ndarray) -> np.ndarray:
        """float64 [n]: how far inside the good side; below 0, on the other."""
        distance: np.ndarray = points @ self.normal - self.threshold
        return distance


def divided(points: np.ndarray, worth: np.ndarray) -> Plane | None:
    """The plane that tells good candidates from poor ones; None where there is none, or it would leave one side empty."""
    middle = points.mean(axis=0)
    centred, wanted = points - middle, worth - worth.mean()
    normal = np.linalg.solve(centred.T @ centred + RIDGE * len(points) * np.eye(points.shape[1]), centred.T @ wanted)
    plane = Plane(normal, float(middle @ normal))  # the prediction equals the mean where the plane lies
    good = plane.above(points) > 0
    return plane if 0 < good.sum() < len(points) else None


def propose(points: np.ndarray, worth: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Where to look next, [size], after candidates at ``points`` [n, size] (NaN: a gene that one had not) that were worth
    ``worth`` [n]."""
    points = np.where(np.isnan(points), 0.5, points)
    bound = EXPLORE * float(worth.std())
    inside = np.ones(len(points), bool)
    signs: list[tuple[float, Plane]] = []
    while len(signs) < DEEPEST and inside.sum() >= FEWEST:
        plane = divided(points[inside], worth[inside])
        if plane is None:
            break
        good = plane.above(points) > 0
        sides = [(sign, inside & (good if sign > 0 else ~good)) for sign in (1.0, -1.0)]
        visits = math.log(inside.sum())
        sign, inside = max(sides, key=lambda side: worth[side[1]].mean() + bound * math.sqrt(2 * visits / side[1].sum()))
        signs.append((sign, plane))
    drawn = random.random((DRAWS, points.shape[1]))
    short = np.zeros(DRAWS)
    for sign, plane in signs:
        short += np.maximum(0.0, -sign * plane.above(drawn))
    # The first that violates no plane; where the region is too small to be hit, the one that lies nearest to it.
    chosen: np.ndarray = drawn[int(short.argmin())]
    return chosen
