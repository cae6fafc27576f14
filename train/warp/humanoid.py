"""Humanoid-v5: two legs carry a body forward. Source of the rules: Gymnasium 1.4's environment.

Gymnasium's file asks for MuJoCo's PGS solver (50 iterations), which MuJoCo Warp does not have; here Newton's method solves
the same convex problem. docs/warp.md gives what that changes.
"""

from __future__ import annotations

import torch
from torch import Tensor

from .task import Bodies, Task, effort, noisy


def _observe(bodies: Bodies) -> Tensor:
    parts = [bodies.qpos[:, 2:], bodies.qvel, bodies.cinert[:, 1:].flatten(1), bodies.cvel[:, 1:].flatten(1)]
    return torch.cat([*parts, bodies.qfrc_actuator[:, 6:], bodies.cfrc_ext[:, 1:].flatten(1)], 1)


def _place(bodies: Bodies) -> Tensor:
    """x of the centre of mass of all bodies."""
    return bodies.xipos[:, :, 0] @ bodies.body_mass / bodies.body_mass.sum()


def _score(bodies: Bodies, actions: Tensor, velocity: Tensor) -> tuple[Tensor, Tensor]:
    height = bodies.qpos[:, 2]
    healthy = (height > 1.0) & (height < 2.0)
    contact = (5e-7 * bodies.cfrc_ext.square().sum((1, 2))).clamp(max=10.0)
    return 1.25 * velocity + 5.0 * healthy.float() - 0.1 * effort(actions) - contact, ~healthy


HUMANOID = Task(
    "Humanoid-v5",
    "humanoid.xml",
    5,
    1000,
    _observe,
    _place,
    _score,
    noisy(1e-2, 1e-2, "uniform"),
    max_contacts=64,
    max_constraints=192,
)
