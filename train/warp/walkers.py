"""Hopper-v5 and Walker2d-v5: move forward in a plane without falling. Source of the rules: Gymnasium 1.4's environments."""

from __future__ import annotations

import torch
from torch import Tensor

from .task import Bodies, Task, cart_x, effort, noisy


def _observe(bodies: Bodies) -> Tensor:
    return torch.cat([bodies.qpos[:, 1:], bodies.qvel.clamp(-10, 10)], 1)


def _score(healthy: Tensor, actions: Tensor, velocity: Tensor) -> tuple[Tensor, Tensor]:
    return velocity + healthy.float() - 1e-3 * effort(actions), ~healthy


def _score_hopper(bodies: Bodies, actions: Tensor, velocity: Tensor) -> tuple[Tensor, Tensor]:
    height, angle = bodies.qpos[:, 1], bodies.qpos[:, 2]
    small = (torch.cat([bodies.qpos[:, 2:], bodies.qvel], 1).abs() < 100).all(1)
    return _score(small & (height > 0.7) & (angle.abs() < 0.2), actions, velocity)


def _score_walker(bodies: Bodies, actions: Tensor, velocity: Tensor) -> tuple[Tensor, Tensor]:
    height, angle = bodies.qpos[:, 1], bodies.qpos[:, 2]
    return _score((height > 0.8) & (height < 2) & (angle.abs() < 1), actions, velocity)


HOPPER = Task("Hopper-v5", "hopper.xml", 4, 1000, _observe, cart_x, _score_hopper, noisy(5e-3, 5e-3, "uniform"))
WALKER2D = Task("Walker2d-v5", "walker2d_v5.xml", 4, 1000, _observe, cart_x, _score_walker, noisy(5e-3, 5e-3, "uniform"))
