"""Genes as numbers: what samplers that reckon with distances need, of Optuna's parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np


class Code:
    """Parameters <-> a point of the unit cube, one coordinate per gene that has an order, one per choice where it has none.

    Widths, shares, ranks and bits are ordered: their choices lie at equal distances, from least to most. Two choices without an
    order (relu, tanh) share one coordinate, which is as good. Of more, the one with the largest coordinate is meant.
    """

    def __init__(self, space: Mapping[str, Any]) -> None:
        """``space``: name -> Optuna's distribution, integers or categories."""
        self.genes: list[tuple[str, tuple[Any, ...], bool]] = []
        for name, distribution in sorted(space.items()):
            if hasattr(distribution, "choices"):
                choices = tuple(distribution.choices)
            else:
                choices = tuple(range(distribution.low, distribution.high + 1))
            ordered = len(choices) <= 2 or all(isinstance(choice, int | float) for choice in choices)
            self.genes.append((name, tuple(sorted(choices)) if ordered else choices, ordered))
        self.size = sum(1 if ordered else len(choices) for _, choices, ordered in self.genes)

    def steps(self) -> np.ndarray:
        """float64 [size]: how far apart neighbouring choices lie in each coordinate."""
        return np.array(
            [
                1.0 / max(len(choices) - 1, 1) if ordered else 1.0
                for _, choices, ordered in self.genes
                for _ in range(1 if ordered else len(choices))
            ]
        )

    def encode(self, params: Mapping[str, Any]) -> np.ndarray:
        """float64 [size]; NaN for genes that these parameters have not, as the width of a layer that is not there."""
        point: list[float] = []
        for name, choices, ordered in self.genes:
            here = name in params and params[name] in choices
            if ordered:
                point.append(choices.index(params[name]) / max(len(choices) - 1, 1) if here else np.nan)
            else:
                point += [float(params[name] == choice) if here else np.nan for choice in choices]
        return np.array(point)

    def decode(self, point: np.ndarray) -> dict[str, Any]:
        """The parameters nearest to ``point`` [size], which may lie outside the cube."""
        params, at = {}, 0
        for name, choices, ordered in self.genes:
            width = 1 if ordered else len(choices)
            part = point[at : at + width]
            index = (
                int(np.clip(round(float(part[0]) * (len(choices) - 1)), 0, len(choices) - 1)) if ordered else int(part.argmax())
            )
            params[name] = choices[index]
            at += width
        return params
