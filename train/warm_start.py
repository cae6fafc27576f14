"""A training that begins from a policy instead of from random weights, such as one that a hypernetwork has predicted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from ..errors import BadInput
from ..policy.bundle import Policy
from ..policy.contract import Action
from ..policy.layers import Layers

if TYPE_CHECKING:
    from .normalizer import ObservationNormalizer

KNOWN = 10_000
"""Observations that the policy's normalizer counts as: new ones move it, and not by much at once."""
JUDGE_FIRST = 0.05
"""In this first share of the steps the critic learns alone: its first judgements would undo what the policy can do."""


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class WarmStart:
    """Which policy; its digest, so that a checkpoint is not continued from another one."""

    path: str
    digest: str


def read(value: Any) -> Any:
    """A path is what people write."""
    if isinstance(value, str | Path):
        return {"path": str(value), "digest": Policy.load(value).digest}
    return value


def loaded(start: WarmStart, layers: Layers, action: Action, normalizer: ObservationNormalizer) -> Policy:
    """The policy, if it is one that a training of ``layers`` can begin from; its normalizer's statistics go into
    ``normalizer``. BadInput says what does not fit."""
    from .normalizer import CLIP, EPSILON  # needs torch, which settings do without

    policy = Policy.load(start.path)
    where = f"warm_start {start.path}"
    if policy.digest != start.digest:
        raise BadInput(
            where, expected=f"the policy {start.digest[:12]} of when the training was set up", found=policy.digest[:12]
        )
    if policy.layers != layers:
        raise BadInput(
            where, expected="the layers of hidden, activation and layer_norm: " + ", ".join(str(layer) for layer in layers),
            found=", ".join(str(layer) for layer in policy.layers),
        )  # fmt: skip
    if policy.contract.action != action:
        raise BadInput(where, expected=f"the environment's actions, {action}", found=f"{policy.contract.action}")
    own = policy.contract.observation.normalizer
    if (own is not None) != normalizer.active:
        raise BadInput(
            where, expected=f"a policy {'with' if normalizer.active else 'without'} a normalizer, as normalize_observation says",
            found="one with" if own else "one without",
        )  # fmt: skip
    if own is not None:
        if (own.epsilon, own.clip, own.epsilon_inside_sqrt) != (EPSILON, CLIP, True):
            raise BadInput(
                where, expected=f"a normalizer of epsilon {EPSILON:g} and clip {CLIP:g}", found=f"{own.epsilon:g}, {own.clip}"
            )
        normalizer.restore({"count": KNOWN, "mean": np.array(own.mean), "variance": np.array(own.variance)})
    return policy
