"""Environments as tensors: what a rollout steps, be it Gymnasium's copies on the CPU or a batched world on any device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from .environments import VectorEnv
from .worlds.vector import WorldVector


@dataclass(frozen=True, eq=False)
class TensorStep:
    """What one step of all n copies gave, on the environments' device."""

    obs: Tensor
    """float32 [n, size]: what to act on next; where an episode ended, already the first of the next one."""
    reward: Tensor
    """float64 [n]."""
    terminated: Tensor
    """bool [n]."""
    truncated: Tensor
    """bool [n]; never where ``terminated``."""
    last: Tensor
    """float32 [n, size]: what was seen before any copy started anew; equals ``obs`` where no episode ended."""
    last_privileged: Callable[[], Tensor] | None
    """Gives the true state at the same moment, float32 [n, privileged size]; None where the environments have none."""


class TensorEnv(Protocol):
    """n copies of an environment; actions are what the policy's head gives, before scale, offset and clip."""

    device: torch.device
    obs: Tensor

    def __len__(self) -> int: ...

    def privileged(self) -> Tensor | None:
        """The true state, float32 [n, privileged size], for a critic; None where there is none."""

    def step(self, actions: Tensor) -> TensorStep:
        """actions: float32 [n, columns of the head]."""

    def finished(self) -> list[tuple[float, int]]:
        """(return, length) of the episodes that ended since the last call; waits for the device."""

    def state(self) -> dict[str, Any]:
        """As :meth:`VectorEnv.state`."""

    def restore(self, state: dict[str, Any]) -> bool:
        """As :meth:`VectorEnv.restore`."""


class GymnasiumTensors:
    """A :class:`VectorEnv`, on the CPU."""

    def __init__(self, envs: VectorEnv) -> None:
        self.envs, self.device = envs, torch.device("cpu")
        self.obs = torch.from_numpy(envs.obs)
        action = envs.action
        self._scale, self._offset = np.asarray(action.scale or 1.0), np.asarray(action.offset or 0.0)
        self._finished: list[tuple[float, int]] = []

    def __len__(self) -> int:
        return len(self.envs)

    def privileged(self) -> Tensor | None:
        """None: Gymnasium has no such thing."""
        return None

    def step(self, actions: Tensor) -> TensorStep:
        """Scaled into the environments' own units and clipped."""
        step = self.envs.step(self._to_env(actions.numpy()))
        self._finished += step.finished
        self.obs = last = torch.from_numpy(step.obs)
        if step.last:
            last = self.obs.clone()
            for index, row in step.last.items():
                last[index] = torch.from_numpy(row)
        terminated, truncated = torch.from_numpy(step.terminated), torch.from_numpy(step.truncated)
        return TensorStep(self.obs, torch.from_numpy(step.reward), terminated, truncated, last, None)

    def _to_env(self, actions: np.ndarray) -> np.ndarray:
        if self.envs.discrete:
            return actions[:, 0].astype(np.int64)
        units = actions * self._scale + self._offset
        return np.clip(units, self.envs.action.low, self.envs.action.high) if self.envs.action.low else units

    def finished(self) -> list[tuple[float, int]]:
        """Nothing to wait for."""
        done, self._finished = self._finished, []
        return done

    def state(self) -> dict[str, Any]:
        """The environments' own."""
        return self.envs.state()

    def restore(self, state: dict[str, Any]) -> bool:
        """The environments' own."""
        exact = self.envs.restore(state)
        self.obs = torch.from_numpy(self.envs.obs)
        return exact


class WorldTensors:
    """A batched world on its own device: nothing waits for the device until :meth:`finished` is asked."""

    def __init__(self, envs: WorldVector) -> None:
        self.envs, self.world = envs, envs.world
        self.obs = torch.from_numpy(envs.obs).to(envs.device)
        self.device = envs.device
        # What the head gives -> the environment's units -> the world's [-1, 1], in one line.
        action, half = envs.action, envs.half
        scale, offset = np.array(action.scale or 1.0) / half, (np.array(action.offset or 0.0) - envs.middle) / half
        self._scale, self._offset = (torch.from_numpy(part.astype(np.float32)).to(self.device) for part in (scale, offset))
        self._returns = torch.zeros(len(envs), dtype=torch.float64, device=self.device)
        self._lengths = torch.zeros(len(envs), dtype=torch.int64, device=self.device)
        self._ended: list[tuple[Tensor, Tensor, Tensor]] = []

    def __len__(self) -> int:
        return len(self.envs)

    def privileged(self) -> Tensor | None:
        """The world's."""
        return self.world.privileged() if self.world.privileged_size else None

    def step(self, actions: Tensor) -> TensorStep:
        """The world clips."""
        given = self.world.step(actions * self._scale + self._offset)
        self.obs = given.obs
        reward = given.reward.double()
        ended = given.terminated | given.truncated
        self._returns += reward
        self._lengths += 1
        self._ended.append((ended, self._returns.clone(), self._lengths.clone()))
        self._returns.masked_fill_(ended, 0.0)
        self._lengths.masked_fill_(ended, 0)
        return TensorStep(given.obs, reward, given.terminated, given.truncated, given.last, given.last_privileged)

    def finished(self) -> list[tuple[float, int]]:
        """In the order of time, then of row."""
        if not self._ended:
            return []
        ended, returns, lengths = (torch.stack(column) for column in zip(*self._ended, strict=True))
        self._ended = []
        return list(zip(returns[ended].tolist(), lengths[ended].tolist(), strict=True))

    def state(self) -> dict[str, Any]:
        """The world's own, and what is counted here."""
        counted = {"obs": self.obs.clone(), "returns": self._returns.clone(), "lengths": self._lengths.clone()}
        return {"world": self.world.state()} | counted

    def restore(self, state: dict[str, Any]) -> bool:
        """Always exact."""
        self.world.restore(state["world"])
        self.obs = state["obs"].to(self.device)
        self._returns, self._lengths = state["returns"].to(self.device), state["lengths"].to(self.device)
        return True


def tensor_env(envs: VectorEnv) -> TensorEnv:
    """The environments in this shape."""
    return WorldTensors(envs) if isinstance(envs, WorldVector) else GymnasiumTensors(envs)
