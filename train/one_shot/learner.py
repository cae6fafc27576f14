"""Which of the two ways a family is trained in."""

from __future__ import annotations

import torch

from ..config import PPOConfig
from ..environments import VectorEnv
from .led import Led
from .population import Population


def one_shot(config: PPOConfig, envs: VectorEnv, device: torch.device) -> Led | Population:
    """The learner of ``config.one_shot``."""
    assert config.one_shot is not None
    return (Led if config.one_shot.leader else Population)(config, envs, device)
