"""A batched world in the shape of :class:`pilotfish.train.environments.VectorEnv`: the trainers step it without Gymnasium."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from ...errors import Unsupported, require
from ...policy.contract import Action
from ...policy.environment import make_env
from ...policy.scene import Scene
from ..environments import Step, VectorEnv, action_of
from ..workers import SharedEnv, processes_for
from .quadrotor import Quadrotor
from .quadrotor_task import lesson
from .world import World

_CPU = torch.device("cpu")
WORLDS: dict[str, Callable[[int, torch.device], World]] = {
    "pilotfish/Quadrotor-v0": lambda count, device: Quadrotor(count, lesson("hover"), device),
    "pilotfish/QuadrotorLissajous-v0": lambda count, device: Quadrotor(count, lesson("lissajous"), device),
}
"""Gymnasium id -> the batched world of so many rows in which its task is practised: same observations and actions."""


class WorldVector(VectorEnv):
    """The rows of a world as numpy arrays on the CPU, with episode returns; its state is exact, with nothing to replay."""

    def __init__(self, env_id: str, world: World, action: Action, seed: int) -> None:
        self.env_id, self.world, self.action, self.device = env_id, world, action, world.device
        # One ordinary environment says what the id's own specification and control rate are.
        self.envs = [make_env(env_id, disable_env_checker=True)]
        self.discrete = False
        self.observation_size = world.observation_size
        count = world.num_envs
        # A world's actions are in [-1, 1], the environment's in its own units.
        low, high = np.array(action.low, np.float32), np.array(action.high, np.float32)
        self.middle, self.half = (high + low) / 2, (high - low) / 2
        self.world.seed(seed)
        self._obs = self.world.reset().cpu().numpy()
        self._returns = np.zeros(count)
        self._lengths = np.zeros(count, np.int64)

    def __len__(self) -> int:
        return self.world.num_envs

    def step(self, actions: np.ndarray) -> Step:
        """actions: float [n, action size] in the environment's own units."""
        units = (np.asarray(actions, np.float32) - self.middle) / self.half
        given = self.world.step(torch.from_numpy(units).to(self.device))
        reward = given.reward.cpu().numpy().astype(np.float64)
        terminated, truncated = given.terminated.cpu().numpy(), given.truncated.cpu().numpy()
        self._obs = given.obs.cpu().numpy()
        self._returns += reward
        self._lengths += 1
        over = np.flatnonzero(terminated | truncated)
        finished = [(float(self._returns[index]), int(self._lengths[index])) for index in over]
        self._returns[over], self._lengths[over] = 0.0, 0
        seen = given.last.cpu().numpy()
        last = {int(index): seen[index].copy() for index in over}
        return Step(self._obs.copy(), reward, terminated, truncated, last, finished)

    def restart(self, indices: np.ndarray) -> None:
        """Abandon the episodes of these rows, int [k], and begin new ones."""
        rows = torch.zeros(len(self), dtype=torch.bool, device=self.world.device)
        rows[torch.from_numpy(indices)] = True
        self._obs = self.world.reset(rows).cpu().numpy()
        self._returns[indices], self._lengths[indices] = 0.0, 0

    def state(self) -> dict[str, Any]:
        """The world's own state, and what is counted here."""
        counted = {"obs": self._obs.copy(), "returns": self._returns.copy(), "lengths": self._lengths.copy()}
        return {"world": self.world.state()} | counted

    def restore(self, state: dict[str, Any]) -> bool:
        """Always exact."""
        self.world.restore(state["world"])
        self._obs, self._returns, self._lengths = (np.array(state[key]) for key in ("obs", "returns", "lengths"))
        return True


def action_around(rest: tuple[float, ...]) -> Action:
    """Action entries in [-1, 1], where an output of 0 means ``rest``."""
    size = len(rest)
    low, high = (-1.0,) * size, (1.0,) * size
    offset = rest if any(rest) else ()
    return Action(kind="continuous", size=size, offset=offset, low=low, high=high, distribution="Gaussian mean")


def vector_env(
    env: str | Scene, count: int, seed: int, processes: int = 1, simulator: str = "gymnasium", device: torch.device = _CPU
) -> VectorEnv:
    """``count`` copies of an environment that step together: a batched world on ``device`` where there is one, else Gymnasium's.

    ``processes`` share Gymnasium's copies; 0: :func:`pilotfish.train.workers.processes_for` decides. The numbers are the same.
    ``simulator`` "warp": a task of :data:`pilotfish.train.warp.TASKS` on MuJoCo Warp.
    """
    if simulator == "warp":
        return _on_warp(env, count, seed, device)
    if isinstance(env, str) and env in WORLDS:
        world = WORLDS[env](count, device)
        return WorldVector(env, world, action_around(world.rest_action), seed)
    processes = processes_for(count, processes)
    return SharedEnv(env, count, seed, processes) if processes > 1 else VectorEnv(env, count, seed)


def _on_warp(env: str | Scene, count: int, seed: int, device: torch.device) -> VectorEnv:
    require("mujoco_warp", "warp")
    from ..warp import TASKS, WarpWorld

    if env not in TASKS:
        repair = "Leave simulator out" + (", or delays and sequences" if isinstance(env, Scene) else "")
        raise Unsupported(f"simulator warp for {env}", expected="one of " + ", ".join(TASKS), found=str(env), repair=repair)
    one = make_env(env, disable_env_checker=True)
    action = action_of(one.action_space)
    one.close()
    return WorldVector(str(env), WarpWorld(str(env), count, device), action, seed)
