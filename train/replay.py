"""The replay buffer: one packed matrix of transitions, filled in a circle; a minibatch is one gather of its rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor


class Replay:
    """Transitions on ``device`` as rows float32 [N, 2 * observation size + action size + 2].

    A row is obs, action, following, reward, going: what a critic reads (obs, action) lies together.
    """

    def __init__(self, capacity: int, obs_size: int, action_size: int, device: torch.device) -> None:
        self.capacity, self.device = capacity, device
        self.obs_size, self.action_size = obs_size, action_size
        self.filled = self._next = 0
        self._rows = torch.zeros((capacity, 2 * obs_size + action_size + 2), device=device)
        self._batch = torch.empty((0, self._rows.shape[1]), device=device)

    def add(self, obs: np.ndarray, following: np.ndarray, action: np.ndarray, reward: np.ndarray, going: np.ndarray) -> None:
        """n transitions; ``going`` is 0 where the episode terminated (not where it was merely cut), else 1."""
        columns = (obs, action, following, reward[:, None], going[:, None])
        packed = torch.from_numpy(np.concatenate(columns, axis=1, dtype=np.float32, casting="unsafe"))
        count, room = len(packed), self.capacity - self._next
        self._rows[self._next : self._next + count] = packed[:room]
        if count > room:
            self._rows[: count - room] = packed[room:]
        self._next = (self._next + count) % self.capacity
        self.filled = min(self.filled + count, self.capacity)

    def sample(self, rows: np.ndarray) -> Tensor:
        """The transitions of these row numbers, int64 [B] -> [B, row width]; the next call overwrites what this one gave."""
        if len(self._batch) != len(rows):
            self._batch = torch.empty((len(rows), self._rows.shape[1]), device=self.device)
        return torch.index_select(self._rows, 0, torch.from_numpy(rows).to(self.device), out=self._batch)

    def state(self) -> dict[str, Any]:
        """Plain data for a checkpoint: the filled part only."""
        return {"rows": self._rows[: self.filled].cpu().clone(), "next": self._next}

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state`."""
        self.filled, self._next = len(state["rows"]), int(state["next"])
        self._rows[: self.filled] = state["rows"].to(self.device)
