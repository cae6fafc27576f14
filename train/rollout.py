"""Collecting experience for on-policy learning: T steps of n environments, as tensors on the environments' device."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..policy.network import State
from .heads import Head
from .memory import Net
from .normalizer import CLIP, ObservationNormalizer
from .tensor_env import TensorEnv


@dataclass(eq=False)
class Rollout:
    """T steps of n environments; what the update learns from."""

    obs: Tensor
    """float32 [T, n, observation size], normalized as the actor saw it."""
    seen: Tensor
    """float32 [T, n, critic's size]: what the critic sees; the same tensor unless the critic sees the true state."""
    action: Tensor
    """float32 [T, n, columns of the head], before scale, offset and clip."""
    log_prob: Tensor
    """float32 [T, n], of the action when it was taken."""
    reward: Tensor
    """float64 [T, n]."""
    terminated: Tensor
    """bool [T, n]."""
    truncated: Tensor
    """bool [T, n]."""
    started: Tensor
    """float32 [T, n]: 1 where an episode begins with this observation."""
    last: Tensor
    """float32 [T, n, critic's size]: what the critic would have seen next, had no environment started anew."""
    memory: State
    """The actor's recurrent tensors before the first step, each [n, size]."""

    def to(self, device: torch.device) -> Rollout:
        """The same on another device."""
        if self.obs.device == device:
            return self
        moved = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        moved = {name: tuple(t.to(device) for t in v) if name == "memory" else v.to(device) for name, v in moved.items()}
        if self.seen is self.obs:
            moved["seen"] = moved["obs"]
        return Rollout(**moved)


class Collector:
    """Steps the environments with the actor's samples; episodes go on from one rollout to the next."""

    def __init__(
        self, envs: TensorEnv, horizon: int, normalizer: ObservationNormalizer, asymmetric: ObservationNormalizer | None
    ):
        self.envs, self.horizon = envs, horizon
        self.normalizer, self.asymmetric = normalizer, asymmetric
        self.memory: State | None = None
        self.fresh = torch.ones(len(envs), device=envs.device)

    @torch.no_grad()
    def collect(self, actor: Net, head: Head, generator: torch.Generator) -> Rollout:
        """One rollout. ``generator`` and the networks are on the environments' device."""
        envs, horizon, n = self.envs, self.horizon, len(self.envs)
        noise = head.noise((horizon, n), generator)
        if self.memory is None:
            self.memory = actor.initial_state(n)
        first, state = self.memory, self.memory
        raw, started, rows = [envs.obs], [self.fresh], []
        truth = [] if self.asymmetric is None else [self._truth()]
        scale = self.normalizer.tensors(envs.device)
        obs = torch.empty((horizon, n, envs.obs.shape[1]), device=envs.device)
        for t in range(horizon):
            _normalize(envs.obs, scale, out=obs[t])
            y, state = actor.step(obs[t], state)
            action = head.sample(y, noise[t])
            log_prob = head.log_prob(y, action)
            step = envs.step(action)
            self.fresh = (step.terminated | step.truncated).float()
            state = tuple(tensor * (1 - self.fresh)[:, None] for tensor in state)
            rows.append((action, log_prob, step.reward, step.terminated, step.truncated))
            raw.append(step.obs)
            started.append(self.fresh)
            if self.asymmetric is not None:
                assert step.last_privileged is not None
                truth += [step.last_privileged(), self._truth()]
            else:
                truth.append(step.last)
        self.memory = state
        action, log_prob, reward, terminated, truncated = (torch.stack(column) for column in zip(*rows, strict=True))
        if self.asymmetric is None:
            seen, last = obs, _normalize(torch.stack(truth), scale)
        else:
            scale = self.asymmetric.tensors(envs.device)
            true = torch.stack(truth[0:-1:2])
            seen, last = _normalize(true, scale), _normalize(torch.stack(truth[1::2]), scale)
            self.asymmetric.learn(true.flatten(0, 1))
        # Only now: within a rollout the actor, the old probabilities and the new ones must see the same numbers.
        self.normalizer.learn(torch.cat(raw[:-1]))
        return Rollout(obs, seen, action, log_prob, reward, terminated, truncated, torch.stack(started[:-1]), last, first)

    def _truth(self) -> Tensor:
        truth = self.envs.privileged()
        assert truth is not None  # checked where the learner is made
        return truth

    def state(self) -> dict[str, Any]:
        """Environments, memories, and whose episode begins now."""
        memory = None if self.memory is None else list(self.memory)
        return {"envs": self.envs.state(), "memory": memory, "fresh": self.fresh}

    def restore(self, state: dict[str, Any]) -> bool:
        """The inverse of :meth:`state`; False if the environments could not be brought back exactly."""
        memory, device = state["memory"], self.envs.device
        self.memory = None if memory is None else tuple(tensor.to(device) for tensor in memory)
        self.fresh = state["fresh"].to(device)
        return self.envs.restore(state["envs"])


def _normalize(x: Tensor, scale: tuple[Tensor, Tensor] | None, out: Tensor | None = None) -> Tensor:
    """The contract's formula; ``scale`` is (mean, 1 / deviation), None for the identity."""
    if scale is None:
        return x if out is None else out.copy_(x)
    return torch.sub(x, scale[0], out=out).mul_(scale[1]).clamp_(-CLIP, CLIP)
