"""Soft actor-critic: a squashed Gaussian actor, two critics, a tuned temperature; every gradient by hand."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from .config import SACConfig
from .environments import VectorEnv
from .flat import Adam, Flat
from .off_policy import OffPolicy

LOG_STD_RANGE = (-5.0, 2.0)


class SAC(OffPolicy):
    """Haarnoja et al. 2018, arXiv 1812.05905."""

    name = "SAC"
    heads = 2
    distribution = "squashed Gaussian mean"

    def __init__(self, config: SACConfig, envs: VectorEnv, device: torch.device) -> None:
        super().__init__(config, envs, device)
        self.target_entropy = -float(self.action.size) if config.target_entropy is None else config.target_entropy
        temperature = Flat([()], device)
        self.log_alpha = temperature.value.fill_(math.log(config.initial_temperature))
        self.optimizers["temperature"] = Adam(temperature, config.learning_rate)
        self._both = torch.empty((2 * config.batch_size, self.sizes[0]), device=device)

    def act(self, obs: Tensor) -> Tensor:
        """A sampled action."""
        return self.sample(obs)[0]

    def sample(self, obs: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """A sampled action in (-1, 1) [n, actions], its log-probability [n], and what :meth:`actor_gradient` needs."""
        mean, raw = self.actor.forward(obs).chunk(2, dim=1)
        log_std = raw.clamp(*LOG_STD_RANGE)
        noise = torch.randn(mean.shape, generator=self.noise, device=self.device)
        spread = log_std.exp().mul_(noise)
        u = mean + spread
        # log(1 - tanh(u)^2) = 2 (log 2 - u - softplus(-2u)), which does not cancel for large u.
        slope = (u + F.softplus(-2 * u)).mul_(2)
        log_prob = torch.addcmul(slope, noise, noise, value=-0.5).sub_(log_std).sum(1)
        log_prob -= self.action.size * (0.5 * math.log(2 * math.pi) + 2 * math.log(2))
        return torch.tanh(u), log_prob, {"spread": spread, "free": raw == log_std}

    @staticmethod
    def actor_gradient(action: Tensor, dq: Tensor, alpha: Tensor, seen: dict[str, Tensor]) -> Tensor:
        """Gradient of mean(alpha * log_prob - Q) by the actor's outputs (mean, raw log std), [n, 2 * actions].

        ``dq`` [n, actions] is dQ/da of each row. With u = mean + std * noise, a = tanh(u): d log_prob / du = 2 a and
        d log_prob / d log_std = std * noise * 2 a - 1. Where the log std is clamped its gradient is 0.
        """
        by_u = (alpha * 2 * action - dq * (1 - action * action)).div_(len(action))
        by_log_std = (by_u * seen["spread"]).sub_(alpha / len(action)).mul_(seen["free"])
        return torch.cat([by_u, by_log_std], dim=1)

    def update(self, batch: Tensor, log: bool) -> dict[str, Tensor]:
        """One gradient step of critics, actor and temperature; the targets follow."""
        rows, obs = len(batch), self.obs_of(batch)
        # One pass for both: the critics' step between their uses does not change the actor.
        self._both[:rows], self._both[rows:] = self.following_of(batch), obs
        actions, log_probs, seen = self.sample(self._both)
        alpha = self.log_alpha.exp()
        value = self.critics.target(actions[:rows], self.following_of(batch))
        scalars = self.fit_critics(batch, torch.addcmul(value, log_probs[:rows], alpha, value=-1), log)

        action, log_prob, seen = actions[rows:], log_probs[rows:], {name: part[rows:] for name, part in seen.items()}
        q, dq = self.critics.smaller(action, obs)
        self.actor.backward(self.actor_gradient(action, dq, alpha, seen), first=rows)
        self.optimizers["actor"].step()

        temperature = self.optimizers["temperature"]
        temperature.flat.gradient.copy_(-(log_prob.mean() + self.target_entropy))
        temperature.step()
        if log:
            entropy = -log_prob.mean()
            scalars |= {"loss/actor": -alpha[0] * entropy - q.mean(), "sac/entropy": entropy, "sac/alpha": alpha[0]}
        return scalars
