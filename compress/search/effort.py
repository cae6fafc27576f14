"""How much a candidate of a search is taught: the budgets of its lessons."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field
from pydantic.dataclasses import dataclass

from ..passes import STRICT

COPIES = 64
"""Copies of the environment that act side by side."""
GLANCES = 5
"""Episodes behind a return that only decides whether a candidate goes on."""


@dataclass(frozen=True, config=STRICT)
class Effort:
    """One number scales all lessons."""

    steps: Annotated[int, Field(ge=100, le=100_000_000)] = 30_000
    """Environment steps by which a candidate that goes all the way is taught, of its own; a quarter as many of the
    teacher's, flown once, are shown to all."""
    episodes: Annotated[int, Field(ge=2, le=10_000)] = 20
    """Episodes, with seeds that no lesson uses, behind every return that counts; whether a candidate goes on is seen by a few."""

    @property
    def shown(self) -> int:
        """Steps of the teacher that all candidates see."""
        return max(COPIES, self.steps // 4)

    @property
    def glances(self) -> int:
        """The first so many of :attr:`episodes` decide whether a candidate goes on."""
        return min(self.episodes, GLANCES)

    def _lesson(self, share: float, iterations: int, epochs: int) -> dict[str, Any]:
        steps = max(COPIES * iterations, round(self.steps * share))
        return {
            "steps": steps, "iterations": iterations, "epochs": epochs, "n_envs": COPIES, "restart_share": 0.25,
            "batch_size": 1024,
        }  # fmt: skip

    def glimpse(self) -> dict[str, Any]:
        """The first lesson: enough to see whether there is hope. Its first round is the teacher's, flown before."""
        return self._lesson(0.3, 3, 15)

    def study(self) -> dict[str, Any]:
        """The second: what makes a student good."""
        return self._lesson(0.6, 3, 25) | {"episodes": 0}

    def round(self, studies: int = 1) -> dict[str, Any]:
        """After each round of pruning."""
        return self._lesson(0.05 * studies, studies, 10)

    def touch(self) -> dict[str, Any]:
        """Between two passes."""
        return self._lesson(0.05, 1, 5) | {"episodes": 0}

    def heal(self, studies: int = 1) -> dict[str, Any]:
        """The last lesson, on the grids and between the zeros that it will have."""
        return self._lesson(0.3 * studies, 2 * studies, 10) | {"episodes": 0, "learning_rate": 1e-3}
