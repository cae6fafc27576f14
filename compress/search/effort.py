"""How much a candidate of a search is taught: the budgets of its lessons."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field
from pydantic.dataclasses import dataclass

from ..passes import STRICT

COPIES = 64
"""Copies of the environment that act side by side; each starts a new episode in every round."""


@dataclass(frozen=True, config=STRICT)
class Effort:
    """One number scales all lessons."""

    steps: Annotated[int, Field(ge=100, le=100_000_000)] = 30_000
    """Environment steps that a candidate which goes all the way is taught before it is compressed; as many again while it is."""
    episodes: Annotated[int, Field(ge=2, le=10_000)] = 20
    """Episodes, with seeds that no lesson uses, behind every return that decides."""

    def _lesson(self, share: float, iterations: int, epochs: int) -> dict[str, Any]:
        steps = max(COPIES * iterations, round(self.steps * share))
        return {
            "steps": steps, "iterations": iterations, "epochs": epochs, "n_envs": COPIES, "restart_share": 1.0,
            "judged_episodes": min(self.episodes, 3),
        }  # fmt: skip

    def glimpse(self) -> dict[str, Any]:
        """The first lesson: enough to see whether there is hope."""
        return self._lesson(0.3, 2, 30)

    def study(self) -> dict[str, Any]:
        """The second: what makes a student good."""
        return self._lesson(0.7, 3, 40) | {"episodes": 0}

    def round(self) -> dict[str, Any]:
        """After each round of pruning."""
        return self._lesson(0.15, 1, 20)

    def touch(self) -> dict[str, Any]:
        """Between two passes."""
        return self._lesson(0.15, 1, 20) | {"episodes": 0}

    def heal(self) -> dict[str, Any]:
        """The last lesson, on the grids and between the zeros that it will have."""
        return self._lesson(0.7, 3, 25) | {"episodes": 0, "learning_rate": 1e-3}
