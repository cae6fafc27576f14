"""CMA-ES: a normal distribution over the encoded genes that moves and stretches towards what was worth most.

Hansen's tutorial (arXiv 1604.00772) with its default constants. Optuna's own needs one objective and numbers only, and keeps
pickles in the study's journal, which a journal that may come from elsewhere must not hold. This one keeps nothing: it goes
through all candidates again, generation by generation, in the order in which they were begun. So processes may share a study, and
candidates that others proposed count, too; their steps are cut to the length of likely ones (Hansen 2011, arXiv 1110.4181).
"""

from __future__ import annotations

import math

import numpy as np

START = 0.3
"""Standard deviation at the start, of a cube of side 1."""
NARROWEST, WIDEST = 0.05, 0.5
MARGIN = 0.5
"""Least standard deviation of a coordinate, in steps between its choices: else a coordinate freezes between two of them (the
reason for the margin of Hamano et al. 2022, arXiv 2205.13482)."""


class Normal:
    """Mean, step and shape, and their paths."""

    def __init__(self, size: int) -> None:
        self.size, self.mean, self.step = size, np.full(size, 0.5), START
        self.shape, self.step_path, self.shape_path = np.eye(size), np.zeros(size), np.zeros(size)
        self.population = 4 + int(3 * math.log(size))
        raw = np.log((self.population + 1) / 2) - np.log(np.arange(1, self.population // 2 + 1))
        self.weights = raw / raw.sum()
        mass = self.mass = 1 / float((self.weights**2).sum())
        self.step_rate = (mass + 2) / (size + mass + 5)
        self.damping = 1 + 2 * max(0.0, math.sqrt((mass - 1) / (size + 1)) - 1) + self.step_rate
        self.path_rate = (4 + mass / size) / (size + 4 + 2 * mass / size)
        self.one_rate = 2 / ((size + 1.3) ** 2 + mass)
        self.many_rate = min(1 - self.one_rate, 2 * (mass - 2 + 1 / mass) / ((size + 2) ** 2 + mass))
        self.expected = math.sqrt(size) * (1 - 1 / (4 * size) + 1 / (21 * size**2))

    def learn(self, points: np.ndarray, worth: np.ndarray) -> None:
        """Move by one generation: points [population, size], NaN where a candidate says nothing, and what they are worth."""
        best = points[np.argsort(-worth, kind="stable")][: len(self.weights)]
        steps = (np.where(np.isnan(best), self.mean, best) - self.mean) / self.step
        root = self._inverse_root()
        lengths = np.linalg.norm(steps @ root, axis=1)
        longest = math.sqrt(self.size) + 2 * self.size / (self.size + 2)
        steps *= np.minimum(1.0, longest / np.maximum(lengths, 1e-12))[:, None]
        moved = self.weights @ steps
        self.mean = np.clip(self.mean + self.step * moved, 0.0, 1.0)
        rate = self.step_rate
        self.step_path = (1 - rate) * self.step_path + math.sqrt(rate * (2 - rate) * self.mass) * root @ moved
        far = float(np.linalg.norm(self.step_path)) / self.expected
        rate, going = self.path_rate, far < 1.4 + 2 / (self.size + 1)
        self.shape_path = (1 - rate) * self.shape_path + going * math.sqrt(rate * (2 - rate) * self.mass) * moved
        lost = self.one_rate * (0.0 if going else self.path_rate * (2 - self.path_rate))
        self.shape = (
            (1 + lost - self.one_rate - self.many_rate) * self.shape
            + self.one_rate * np.outer(self.shape_path, self.shape_path)
            + self.many_rate * (steps.T * self.weights) @ steps
        )
        self.step = float(np.clip(self.step * math.exp(self.step_rate / self.damping * (far - 1)), NARROWEST, WIDEST))

    def draw(self, random: np.random.Generator, steps: np.ndarray) -> np.ndarray:
        """A point [size] of the cube; ``steps`` [size]: between the choices of each coordinate."""
        values, vectors = self._axes()
        point = self.mean + self.step * vectors @ (np.sqrt(values) * random.standard_normal(self.size))
        spread = self.step * np.sqrt(np.diag(self.shape))
        lacking = np.sqrt(np.maximum(0.0, (MARGIN * steps) ** 2 - spread**2))
        return np.clip(point + lacking * random.standard_normal(self.size), 0.0, 1.0)

    def _axes(self) -> tuple[np.ndarray, np.ndarray]:
        values, vectors = np.linalg.eigh((self.shape + self.shape.T) / 2)
        return np.maximum(values, 1e-8), vectors

    def _inverse_root(self) -> np.ndarray:
        values, vectors = self._axes()
        return (vectors / np.sqrt(values)) @ vectors.T


def propose(points: np.ndarray, worth: np.ndarray, steps: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Where to look next, [size], after candidates at ``points`` [n, size] (NaN: a gene that one had not), in order, that were
    worth ``worth`` [n]."""
    normal = Normal(points.shape[1])
    for begin in range(0, len(points) - normal.population + 1, normal.population):
        rows = slice(begin, begin + normal.population)
        normal.learn(points[rows], worth[rows])
    return normal.draw(random, steps)
