"""Reacher-v5: bring the tip of a planar arm to a target. Source of the rules: Gymnasium 1.4's environment."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .task import Bodies, Start, Task, cart_x, effort, never

FINGERTIP, TARGET = 3, 4
"""Body numbers in ``reacher.xml`` (world, body0, body1, fingertip, target)."""


def _offset(bodies: Bodies) -> Tensor:
    return bodies.xpos[:, FINGERTIP] - bodies.xpos[:, TARGET]


def _observe(bodies: Bodies) -> Tensor:
    angles = bodies.qpos[:, :2]
    return torch.cat([angles.cos(), angles.sin(), bodies.qpos[:, 2:], bodies.qvel[:, :2], _offset(bodies)[:, :2]], 1)


def _score(bodies: Bodies, actions: Tensor, _velocity: Tensor) -> tuple[Tensor, Tensor]:
    return -_offset(bodies).norm(dim=1) - effort(actions), never(bodies)


def _start(start: Start) -> tuple[Tensor, Tensor]:
    """Noise on the arm; the target uniform in a disc of 0.2 m (Gymnasium rejects from a square: the same distribution)."""
    qpos = start.qpos0 + start.uniform(len(start.qpos0), 0.1)
    radius = 0.2 * ((start.uniform(1, 1.0) + 1) / 2).sqrt()
    angle = start.uniform(1, math.pi)
    qpos[:, -2:] = torch.cat([radius * angle.cos(), radius * angle.sin()], 1)
    qvel = start.uniform(start.degrees, 0.005)
    qvel[:, -2:] = 0
    return qpos, qvel


REACHER = Task("Reacher-v5", "reacher.xml", 2, 50, _observe, cart_x, _score, _start)
