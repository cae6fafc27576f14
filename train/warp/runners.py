"""Swimmer-v5 and HalfCheetah-v5: move forward, never terminated. Source of the rules: Gymnasium 1.4's environments."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from .task import Bodies, Task, cart_x, effort, never, noisy


def _observe(hidden: int) -> Callable[[Bodies], Tensor]:
    """All positions but the first ``hidden``, and all velocities."""
    return lambda bodies: torch.cat([bodies.qpos[:, hidden:], bodies.qvel], 1)


def _score(weight: float) -> Callable[[Bodies, Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Forward velocity less ``weight`` times the effort."""
    return lambda bodies, actions, velocity: (velocity - weight * effort(actions), never(bodies))


SWIMMER = Task("Swimmer-v5", "swimmer.xml", 4, 1000, _observe(2), cart_x, _score(1e-4), noisy(0.1, 0.1, "uniform"))
HALF_CHEETAH = Task("HalfCheetah-v5", "half_cheetah.xml", 5, 1000, _observe(1), cart_x, _score(0.1), noisy(0.1, 0.1, "normal"))
