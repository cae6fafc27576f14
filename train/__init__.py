"""train: environment -> policy (PPO, SAC, TD3, distillation)."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from .config import DistillConfig, PPOConfig, SACConfig, TD3Config, TrainConfig, train_config
from .sparse.settings import Sparsity

if TYPE_CHECKING:
    from .actor import network_layers
    from .run import train
    from .seeds import train_seeds

__all__ = [
    "DistillConfig",
    "PPOConfig",
    "SACConfig",
    "Sparsity",
    "TD3Config",
    "TrainConfig",
    "network_layers",
    "train",
    "train_config",
    "train_seeds",
]

_HEAVY = {"train": ".run", "train_seeds": ".seeds", "network_layers": ".actor"}
"""Public names whose modules import torch: loaded on first use, so that settings can be checked without it.

``distill`` lives in :mod:`pilotfish.train.distill`: a function of that name here would hide the module, or be hidden by it.
"""


def __getattr__(name: str) -> Any:
    if name not in _HEAVY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from ..errors import require

    require("torch", "train")
    return getattr(importlib.import_module(_HEAVY[name], __name__), name)
