"""The table of algorithms, and what each of them must offer to be trained by :mod:`.run`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import torch

from ..policy.contract import Action, Normalizer
from ..policy.layers import Layers, Weights
from .environments import VectorEnv
from .one_shot.learner import one_shot
from .ppo import PPO
from .sac import SAC
from .sparse.training import SparseTraining
from .td3 import TD3


class Learner(Protocol):
    """What an algorithm must offer; a new one is a file with such a class and a line in :data:`ALGORITHMS`."""

    name: str
    steps: int
    sparse: SparseTraining | None

    def iterate(self) -> tuple[list[tuple[float, int]], dict[str, float]]:
        """Advance a little -> ((return, length) of finished episodes, scalars to plot)."""

    def policy_parts(self) -> tuple[Layers, Weights, Normalizer | None, Action]:
        """The deterministic policy as it stands."""

    def state(self) -> dict[str, Any]:
        """Everything that the next iteration depends on."""

    def restore(self, state: dict[str, Any]) -> bool:
        """The inverse of ``state``; False if it could not be exact."""


ALGORITHMS: dict[str, Callable[[Any, VectorEnv, torch.device], Learner]] = {
    "ppo": PPO,
    "sac": SAC,
    "td3": TD3,
    "one-shot": one_shot,
}
