"""What a batched world offers a learner: n copies that step as one tensor operation, on any device.

A new world is a class with these methods and a line in :data:`pilotfish.train.worlds.vector.WORLDS`. Its rows must not know
of each other: what happens in one may depend on nothing but that row's actions and random numbers. Nothing in ``step`` may
wait for the device (no ``.item()``, no ``if`` on a tensor), so that a rollout can be captured as one CUDA graph.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class WorldStep:
    """What one step of all n rows gave."""

    obs: Tensor
    """float32 [n, observation_size]: what to act on next; where an episode ended, already the first of the next one."""
    reward: Tensor
    """float32 [n]."""
    terminated: Tensor
    """bool [n]: the episode ended in the task itself; its future is worth nothing."""
    truncated: Tensor
    """bool [n]: the episode was cut by its time limit and did not terminate; its future is worth V(``last``)."""
    last: Tensor
    """float32 [n, observation_size]: what was seen before any row started anew; equals ``obs`` where no episode ended."""
    last_privileged: Callable[[], Tensor] | None = None
    """Gives the true state at that moment, float32 [n, privileged_size]; None for a world without one."""


class World(Protocol):
    """n independent episodes of one task. Actions are float32 [n, action_size], each entry in [-1, 1], clipped by the world."""

    num_envs: int
    device: torch.device
    observation_size: int
    action_size: int
    privileged_size: int
    control_hz: float
    rest_action: tuple[float, ...]
    """The action to explore around first, such as the one that hovers: the contract's offset on what the network says."""

    def seed(self, seed: int) -> None:
        """Start the world's random stream; the same seed, resets and actions give the same numbers on the same device."""

    def reset(self, rows: Tensor | None = None) -> Tensor:
        """Begin an episode in every row, or in those of ``rows`` (bool [n]) alone -> observation of all, float32
        [n, observation_size]."""

    def step(self, actions: Tensor) -> WorldStep:
        """Advance every row by 1 / control_hz seconds; rows whose episode ended begin the next one at once."""

    def privileged(self) -> Tensor:
        """The true state as a critic may see it and the device never can, float32 [n, privileged_size]: no sensor noise."""

    def state(self) -> dict[str, Any]:
        """Everything that the next step depends on, random stream included, as copied tensors."""

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state`: from here on bit by bit what came after it (same device, same torch)."""
