"""Ant-v5: four legs move a torso forward. Source of the rules: Gymnasium 1.4's environment."""

from __future__ import annotations

import torch
from torch import Tensor

from .task import Bodies, Task, effort, noisy

TORSO = 1
"""Body number in ``ant.xml``."""


def _observe(bodies: Bodies) -> Tensor:
    contact = bodies.cfrc_ext[:, 1:].clamp(-1, 1).flatten(1)
    return torch.cat([bodies.qpos[:, 2:], bodies.qvel, contact], 1)


def _place(bodies: Bodies) -> Tensor:
    """The torso's x as of the last evaluation, not ``qpos``: so Gymnasium measures it."""
    return bodies.xpos[:, TORSO, 0].clone()


def _score(bodies: Bodies, actions: Tensor, velocity: Tensor) -> tuple[Tensor, Tensor]:
    height = bodies.qpos[:, 2]
    finite = torch.cat([bodies.qpos, bodies.qvel], 1).isfinite().all(1)
    healthy = finite & (height >= 0.2) & (height <= 1.0)
    contact = 5e-4 * bodies.cfrc_ext.clamp(-1, 1).square().sum((1, 2))
    return velocity + healthy.float() - 0.5 * effort(actions) - contact, ~healthy


ANT = Task("Ant-v5", "ant.xml", 5, 1000, _observe, _place, _score, noisy(0.1, 0.1, "normal"))
