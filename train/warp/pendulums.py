"""InvertedPendulum-v5 and InvertedDoublePendulum-v5: poles on a cart. Source of the rules: Gymnasium 1.4's environments."""

from __future__ import annotations

import torch
from torch import Tensor

from .task import Bodies, Task, cart_x, noisy


def _observe_one(bodies: Bodies) -> Tensor:
    return torch.cat([bodies.qpos, bodies.qvel], 1)


def _score_one(bodies: Bodies, _actions: Tensor, _velocity: Tensor) -> tuple[Tensor, Tensor]:
    finite = _observe_one(bodies).isfinite().all(1)
    fallen = ~finite | (bodies.qpos[:, 1].abs() > 0.2)
    return (~fallen).float(), fallen


def _observe_two(bodies: Bodies) -> Tensor:
    angles = bodies.qpos[:, 1:]
    forces = bodies.qfrc_constraint[:, :1].clamp(-10, 10)
    return torch.cat([bodies.qpos[:, :1], angles.sin(), angles.cos(), bodies.qvel.clamp(-10, 10), forces], 1)


def _score_two(bodies: Bodies, _actions: Tensor, _velocity: Tensor) -> tuple[Tensor, Tensor]:
    x, y = bodies.site_xpos[:, 0, 0], bodies.site_xpos[:, 0, 2]
    fallen = y <= 1
    distance = 0.01 * x.square() + (y - 2).square()
    speed = 1e-3 * bodies.qvel[:, 1].square() + 5e-3 * bodies.qvel[:, 2].square()
    return 10.0 * (~fallen).float() - distance - speed, fallen


INVERTED_PENDULUM = Task(
    "InvertedPendulum-v5", "inverted_pendulum.xml", 2, 1000, _observe_one, cart_x, _score_one, noisy(0.01, 0.01, "uniform")
)
INVERTED_DOUBLE_PENDULUM = Task(
    "InvertedDoublePendulum-v5",
    "inverted_double_pendulum.xml",
    5,
    1000,
    _observe_two,
    cart_x,
    _score_two,
    noisy(0.1, 0.1, "normal"),
)
