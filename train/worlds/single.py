"""A batched world of one row as a Gymnasium environment: for evaluation, golden rollouts and everything else that makes one."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np

from ...errors import require


class QuadrotorEnv(gymnasium.Env):
    """One :class:`pilotfish.train.worlds.quadrotor.Quadrotor`; ``task`` settings are those of ``QuadrotorTask``.

    Raises MissingTool without torch. An episode's random numbers follow from ``np_random`` at its reset, so that restoring
    that generator and repeating the actions repeats the episode.
    """

    metadata = {"render_modes": []}  # noqa: RUF012  (Gymnasium's own shape of it)

    def __init__(self, **task: Any) -> None:
        require("torch", "train")
        from .quadrotor import Quadrotor
        from .quadrotor_task import QuadrotorTask

        self.world = Quadrotor(1, QuadrotorTask(**task))
        self.dt = 1 / self.world.control_hz
        size = self.world.observation_size
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (size,), np.float32)
        self.action_space = gymnasium.spaces.Box(-1.0, 1.0, (self.world.action_size,), np.float32)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode; there are no ``options``."""
        super().reset(seed=seed, options=options)
        self.world.random.manual_seed(int(self.np_random.integers(2**62)))
        return self.world.reset()[0].numpy().copy(), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One control step; ``info`` has the position error before the world's own reset, in metres, as seen."""
        import torch

        given = self.world.step(torch.as_tensor(np.asarray(action, np.float32)[None]))
        last = given.last[0].numpy().copy()
        info = {"position_error_m": float(np.linalg.norm(last[:3]))}
        return last, float(given.reward[0]), bool(given.terminated[0]), bool(given.truncated[0]), info
