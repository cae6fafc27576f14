"""What one of Gymnasium's MuJoCo tasks is, written over tensors of all n copies at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Generator, Tensor


@dataclass(frozen=True, eq=False)
class Bodies:
    """The simulator's memory as tensors (no copies): writing ``qpos`` here moves the bodies. Frames and units are MuJoCo's own.

    Everything below ``qvel`` is, as in Gymnasium, what the *last evaluation inside* the step computed: one integration
    stage behind ``qpos`` and ``qvel``. MuJoCo does not compute it again after a step, and the tasks' rewards are defined so.
    """

    qpos: Tensor
    """float32 [n, nq]: joint positions (m, rad, unit quaternions w x y z)."""
    qvel: Tensor
    """float32 [n, nv]: joint velocities (m/s, rad/s)."""
    xpos: Tensor
    """float32 [n, bodies, 3]: body positions in the world, m."""
    xipos: Tensor
    """float32 [n, bodies, 3]: centres of mass of the bodies, m."""
    site_xpos: Tensor
    """float32 [n, sites, 3]: site positions, m."""
    cinert: Tensor
    """float32 [n, bodies, 10]: inertia about the tree's centre of mass (6 inertia, 3 mass times offset, mass)."""
    cvel: Tensor
    """float32 [n, bodies, 6]: body velocities about the tree's centre of mass, rotation first."""
    cfrc_ext: Tensor
    """float32 [n, bodies, 6]: external forces on bodies, torque first; zero at the start of an episode."""
    qfrc_constraint: Tensor
    """float32 [n, nv]: forces of limits and contacts in joint coordinates."""
    qfrc_actuator: Tensor
    """float32 [n, nv]: actuator forces in joint coordinates."""
    body_mass: Tensor
    """float32 [bodies]: kg."""


@dataclass(frozen=True, eq=False)
class Start:
    """Where episodes may begin."""

    qpos0: Tensor
    """float32 [nq]: the model's own pose."""
    count: int
    """How many copies draw."""
    degrees: int
    """nv: how many velocities a copy has."""
    random: Generator
    """The stream to draw from, on the device of ``qpos0``."""

    def uniform(self, size: int, bound: float) -> Tensor:
        """float32 [count, size], uniform in [-bound, bound]."""
        return (2 * torch.rand((self.count, size), generator=self.random, device=self.qpos0.device) - 1) * bound

    def normal(self, size: int, deviation: float) -> Tensor:
        """float32 [count, size], normal with mean zero."""
        return torch.randn((self.count, size), generator=self.random, device=self.qpos0.device) * deviation


@dataclass(frozen=True)
class Task:
    """One task: its XML file, and five short functions over all n copies."""

    env_id: str
    """Gymnasium's name; observations, rewards, terminations and starts are that environment's with default arguments."""
    xml_file: str
    """File in ``gymnasium/envs/mujoco/assets``."""
    frame_skip: int
    """Physics steps per decision."""
    step_limit: int
    """Decisions after which an episode is cut."""
    observe: Callable[[Bodies], Tensor]
    """-> float32 [n, observation size]."""
    place: Callable[[Bodies], Tensor]
    """-> float32 [n]: the coordinate whose velocity the task rewards, m."""
    score: Callable[[Bodies, Tensor, Tensor], tuple[Tensor, Tensor]]
    """(bodies, actions [n, actions] in the environment's units, velocity of ``place`` [n] in m/s)
    -> (reward float32 [n], terminated bool [n])."""
    start: Callable[[Start], tuple[Tensor, Tensor]]
    """-> (qpos [n, nq], qvel [n, nv]) for new episodes."""
    max_contacts: int = 48
    """Contacts for which memory is set aside per copy (copies share the pool)."""
    max_constraints: int = 96
    """Rows of the constraint solver (limits, friction, contact directions) per copy."""


def noisy(position: float, velocity: float, kind: Literal["uniform", "normal"]) -> Callable[[Start], tuple[Tensor, Tensor]]:
    """The usual start: the model's pose plus uniform noise, and a velocity of the given kind (bound or deviation) about zero."""

    def draw(start: Start) -> tuple[Tensor, Tensor]:
        qpos = start.qpos0 + start.uniform(len(start.qpos0), position)
        move = start.uniform if kind == "uniform" else start.normal
        return qpos, move(start.degrees, velocity)

    return draw


def never(bodies: Bodies) -> Tensor:
    """The termination of a task that has none: bool [n], all False."""
    return torch.zeros(len(bodies.qpos), dtype=torch.bool, device=bodies.qpos.device)


def effort(actions: Tensor) -> Tensor:
    """Sum of squared actions, float32 [n]."""
    return actions.square().sum(1)


def cart_x(bodies: Bodies) -> Tensor:
    """The first joint's position, float32 [n], m."""
    return bodies.qpos[:, 0].clone()
