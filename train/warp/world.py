"""A Gymnasium MuJoCo task as a batched world: what :mod:`pilotfish.train.worlds.world` asks, on MuJoCo Warp."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...errors import BadInput
from ..worlds.world import WorldStep
from .physics import Physics
from .task import Start
from .tasks import TASKS


class WarpWorld:
    """``num_envs`` copies of a task of :data:`TASKS`; ended episodes start again within ``step``, and rows are independent.

    Actions are in [-1, 1] and mapped linearly onto the actuators' range. Raises BadInput for an unknown task or a count below
    one, MissingTool without MuJoCo Warp.
    """

    def __init__(self, env_id: str, num_envs: int, device: torch.device, seed: int = 0) -> None:
        if env_id not in TASKS:
            raise BadInput("environment", expected="one of " + ", ".join(TASKS), found=repr(env_id))
        if num_envs < 1:
            raise BadInput("num_envs", expected="at least 1", found=str(num_envs))
        self.task = TASKS[env_id]
        self.physics = Physics(self.task, num_envs, device)
        self.device = device
        bodies = self.physics.bodies
        self.num_envs = num_envs
        self.observation_size = self.task.observe(bodies).shape[1]
        self.action_size = len(self.physics.low)
        self.rest_action: tuple[float, ...] = (0.0,) * self.action_size
        self.privileged_size = bodies.qpos.shape[1] + bodies.qvel.shape[1]
        self.control_hz = 1 / self.physics.decision_s
        self._elapsed = torch.zeros(num_envs, dtype=torch.int64, device=device)
        self._place = torch.zeros(num_envs, device=device)
        self._random = torch.Generator(device)
        self.seed(seed)
        self.reset()

    def seed(self, seed: int) -> None:
        """Start the random stream of new episodes."""
        self._random.manual_seed(seed)

    def reset(self, rows: Tensor | None = None) -> Tensor:
        """Begin an episode in every row, or in those of ``rows`` (bool [n]) -> observation of all, float32 [n, size]."""
        if rows is None:
            return self.put(*self._start())
        seen = self.task.observe(self.physics.bodies)
        return torch.where(rows[:, None], self._begin(rows, *self._start()), seen)

    def put(self, qpos: Tensor, qvel: Tensor) -> Tensor:
        """Begin an episode in every row from given states, [n, nq] and [n, nv] -> observation."""
        return self._begin(torch.ones(self.num_envs, dtype=torch.bool, device=self.device), qpos, qvel)

    def step(self, actions: Tensor) -> WorldStep:
        """actions: float32 [n, action_size], clipped to [-1, 1]. Rewards and terminations are Gymnasium's."""
        low, high = self.physics.low, self.physics.high
        ctrl = low + (actions.clamp(-1, 1) + 1) / 2 * (high - low)
        self.physics.ctrl.copy_(ctrl)
        self.physics.advance()
        bodies = self.physics.bodies
        place = self.task.place(bodies)
        velocity = (place - self._place) / self.physics.decision_s
        last = self.task.observe(bodies)
        reward, terminated = self.task.score(bodies, ctrl, velocity)
        self._place = place
        self._elapsed += 1
        truncated = (self._elapsed >= self.task.step_limit) & ~terminated
        ended = terminated | truncated
        start = self._start()
        true = self.privileged()
        if self.device.type == "cpu" and not bool(ended.any()):  # on a GPU, asking would cost more than beginning in vain
            return WorldStep(last, reward, terminated, truncated, last, lambda: true)
        obs = torch.where(ended[:, None], self._begin(ended, *start), last)
        return WorldStep(obs, reward, terminated, truncated, last, lambda: true)

    def privileged(self) -> Tensor:
        """qpos and qvel whole, float32 [n, nq + nv]; tasks hide the place, and clip velocities."""
        return torch.cat([self.physics.bodies.qpos, self.physics.bodies.qvel], 1)

    def state(self) -> dict[str, Any]:
        """Copies of all that the next step depends on."""
        held = {name: tensor.clone() for name, tensor in self._held().items()}
        return {**held, "elapsed": self._elapsed.clone(), "place": self._place.clone(), "random": self._random.get_state()}

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state`; raises BadInput if it holds another number of rows."""
        if len(state["elapsed"]) != self.num_envs:
            raise BadInput("checkpoint", expected=f"{self.num_envs} environments", found=f"{len(state['elapsed'])}")
        for name, tensor in self._held().items():
            tensor.copy_(state[name])
        self._elapsed = state["elapsed"].clone()
        self._place = state["place"].clone()
        self._random.set_state(state["random"])

    def _held(self) -> dict[str, Tensor]:
        bodies = self.physics.bodies
        return {"qpos": bodies.qpos, "qvel": bodies.qvel, "warm_start": self.physics.warm_start}

    def _start(self) -> tuple[Tensor, Tensor]:
        """A start for every row, drawn at every step whether or not it is used: no row's start depends on who else ended."""
        degrees = self.physics.bodies.qvel.shape[1]
        return self.task.start(Start(self.physics.qpos0, self.num_envs, degrees, self._random))

    def _begin(self, rows: Tensor, qpos: Tensor, qvel: Tensor) -> Tensor:
        """Put ``rows`` (bool [n]) into these states -> observation of all rows, which is meant only for those."""
        bodies, physics = self.physics.bodies, self.physics
        chosen = rows[:, None]
        bodies.qpos.copy_(torch.where(chosen, qpos, bodies.qpos))
        bodies.qvel.copy_(torch.where(chosen, qvel, bodies.qvel))
        physics.ctrl.copy_(torch.where(chosen, 0.0, physics.ctrl))
        physics.warm_start.copy_(torch.where(chosen, 0.0, physics.warm_start))
        bodies.cfrc_ext.copy_(torch.where(chosen[:, :, None], 0.0, bodies.cfrc_ext))
        guess = physics.warm_start.clone()
        physics.evaluate()
        physics.warm_start.copy_(torch.where(chosen, physics.warm_start, guess))  # other rows must not notice
        self._place = torch.where(rows, self.task.place(bodies), self._place)
        self._elapsed = torch.where(rows, 0, self._elapsed)
        return self.task.observe(bodies)
