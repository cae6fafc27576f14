"""policy/adopt: foreign checkpoints become policies; nothing of theirs is executed."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from ..bundle import Policy
from ..contract import Action, Normalizer
from ..conv import Conv2d
from ..environment import check_env, control_hz, make_env
from ..image import shape_of
from .onnx import read_onnx
from .sb3 import read_sb3
from .sniff import Format, sniff
from .source import Source
from .torchscript import read_torchscript

if TYPE_CHECKING:
    import gymnasium

__all__ = ["adopt"]

# One short file per format; a new one is a line here and a rule in sniff.py.
_READERS: dict[Format, Callable[[Source], Policy]] = {"sb3": read_sb3, "torchscript": read_torchscript, "onnx": read_onnx}


def adopt(
    path: str | Path,
    *,
    normalizer: str | Path | None = None,
    env: str | None = None,
    config: str | Path | None = None,
    name: str | None = None,
    control_hz: float | None = None,
    golden_steps: int = 1000,
    seed: int = 0,
) -> Policy:
    """Read a policy that someone else trained, and record its golden rollout.

    The format is told by content: Stable-Baselines3 zip, TorchScript archive, ONNX. ``normalizer`` is a
    VecNormalize pickle for Stable-Baselines3 (Path("none"): the user says that there is none). ``env`` is the
    Gymnasium id that the golden rollout is recorded in; a file name is no evidence of it, so without ``env``
    the rollout uses random observations and the contract's notes say so. ``config`` is the file of settings
    beside the checkpoint (rl-zoo config.yml, a deployment YAML); the rl-zoo one is found by itself.
    Raises BadInput or Unsupported in words for anything else.
    """
    file = Path(path)
    kind = sniff(file)
    chosen = name or re.sub(r"[^A-Za-z0-9._-]+", "-", file.stem).strip("-.") or "policy"
    source = Source(file, chosen, Path(normalizer) if normalizer else None, Path(config) if config else None, env, control_hz)
    policy = _READERS[kind](source)
    from ..record import record_golden  # needs torch, which reading a checkpoint does not

    policy = _placed(policy, source)
    return policy.replace(golden=record_golden(policy, env, golden_steps, seed))


def _placed(policy: Policy, source: Source) -> Policy:
    """The policy with what its environment, or the lack of one, adds to the contract."""
    provenance, timing = policy.contract.provenance, policy.contract.timing
    if source.env is None:
        notes = (*provenance.notes, "golden rollout on random observations: no environment was named (--env)")
    else:
        environment = make_env(source.env)
        try:
            policy = _turned(_choosing(policy, environment), environment)
            check_env(policy.contract, environment)
            if timing.control_hz is None:
                timing = dataclasses.replace(timing, control_hz=control_hz(environment))
        finally:
            environment.close()
        notes = provenance.notes
    provenance = dataclasses.replace(provenance, env=source.env, notes=notes)
    return policy.replace(contract=dataclasses.replace(policy.contract, provenance=provenance, timing=timing))


def _turned(policy: Policy, environment: gymnasium.Env) -> Policy:
    """A policy that was trained on images with the channels first reads an environment's with the channels last."""
    shape, there = policy.contract.observation.shape, shape_of(environment)
    first = policy.layers[0] if policy.layers else None
    turned = len(shape) == 3 and there == (*shape[1:], shape[0]) and there != shape
    if not turned or not isinstance(first, Conv2d) or first.reads != "chw" or not _alike(policy.contract.observation.normalizer):
        return policy
    observation = dataclasses.replace(policy.contract.observation, shape=there)
    layers = (dataclasses.replace(first, reads="hwc"), *policy.layers[1:])
    return policy.replace(layers=layers, contract=dataclasses.replace(policy.contract, observation=observation))


def _alike(normalizer: Normalizer | None) -> bool:
    """Does it treat all entries alike?"""
    return normalizer is None or (len(set(normalizer.mean)) == 1 and len(set(normalizer.variance)) == 1)


def _choosing(policy: Policy, environment: gymnasium.Env) -> Policy:
    """Exported scores of an environment of choices, which no graph names as such, are taken as choices."""
    action, space = policy.contract.action, environment.action_space
    plain = action.squash == "none" and not (action.scale or action.offset or action.low)
    if action.kind == "continuous" and plain and getattr(space, "n", None) == action.size:
        action = Action("discrete", action.size, units=action.units, distribution="largest output")
        return policy.replace(contract=dataclasses.replace(policy.contract, action=action))
    return policy
