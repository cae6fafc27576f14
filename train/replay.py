"""The replay buffer: preallocated tensors, filled in a circle."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor


class Replay:
    """Transitions on ``device``: obs and following [N, observation size], action [N, action size], reward and going [N]."""

    def __init__(self, capacity: int, obs_size: int, action_size: int, device: torch.device) -> None:
        self.capacity, self.device = capacity, device
        self.filled = self._next = 0
        shapes = ((obs_size,), (obs_size,), (action_size,), (), ())
        self._columns = tuple(torch.zeros((capacity, *shape), device=device) for shape in shapes)

    def add(self, obs: np.ndarray, following: np.ndarray, action: np.ndarray, reward: np.ndarray, going: np.ndarray) -> None:
        """n transitions; ``going`` is 0 where the episode terminated (not where it was merely cut), else 1."""
        count = len(obs)
        rows = torch.arange(self._next, self._next + count, device=self.device) % self.capacity
        for column, values in zip(self._columns, (obs, following, action, reward, going), strict=True):
            column[rows] = torch.from_numpy(np.asarray(values, np.float32)).to(self.device)
        self._next = (self._next + count) % self.capacity
        self.filled = min(self.filled + count, self.capacity)

    def sample(self, rows: np.ndarray) -> tuple[Tensor, ...]:
        """The transitions of these row numbers, int64 [B]."""
        index = torch.from_numpy(rows).to(self.device)
        return tuple(column.index_select(0, index) for column in self._columns)

    def state(self) -> dict[str, Any]:
        """Plain data for a checkpoint: the filled part only."""
        return {"columns": [column[: self.filled].cpu().clone() for column in self._columns], "next": self._next}

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state`."""
        self.filled, self._next = len(state["columns"][0]), int(state["next"])
        for column, stored in zip(self._columns, state["columns"], strict=True):
            column[: self.filled] = stored.to(self.device)
