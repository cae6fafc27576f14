"""The settings of a family's training, from what a user says."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from ....errors import BadInput
from ....targets.profile import read_toml, validated

if TYPE_CHECKING:
    from ....train.config import PPOConfig

STEPS = 1_000_000
"""Environment steps, unless told otherwise."""
HIDDEN = (64, 64)
"""Of the leader, unless told otherwise."""


def family_config(env: str, steps: int | None, seed: int, space: Path | None, settings: dict[str, Any]) -> PPOConfig:
    """``space``: a TOML file of :class:`~pilotfish.train.one_shot.family.Family`; ``settings``: of the trainer. BadInput
    names a misspelt or unfit one."""
    from ....train.config import PPOConfig, train_config
    from ....train.one_shot.family import Family

    table = {"env": env, "algorithm": "ppo", "seed": seed, "steps": steps or STEPS, "hidden": HIDDEN} | settings
    if table["algorithm"] != "ppo" or "one_shot" in table:
        raise BadInput("--set", expected="settings of PPO; the family is described by --space", found="algorithm or one_shot")
    family = validated(TypeAdapter(Family), read_toml(space, "a family of architectures"), space) if space else Family()
    config = train_config(table, "train")
    assert isinstance(config, PPOConfig)
    return dataclasses.replace(config, one_shot=family)
