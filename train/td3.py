"""TD3: a deterministic actor, two critics, smoothed target actions, a delayed actor; every gradient by hand."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .actor import network_layers
from .config import TD3Config
from .environments import VectorEnv
from .off_actor import make_actor
from .off_policy import OffPolicy


class TD3(OffPolicy):
    """Fujimoto et al. 2018, arXiv 1802.09477."""

    name = "TD3"
    distribution = "deterministic"

    def __init__(self, config: TD3Config, envs: VectorEnv, device: torch.device) -> None:
        super().__init__(config, envs, device)
        self.config = config
        shape = (self.sizes[0], config.hidden, config.activation, config.layer_norm, self.sizes[1])
        self.target_actor = make_actor(network_layers(*shape), torch.Generator(), device, crew=self.crew)
        self.target_actor.flat.value.copy_(self.actor.flat.value)
        if self.sparse is not None and "actor" in self.sparse.networks:
            self.sparse.networks["actor"].lead(self.target_actor.flat.value)
        self.updates = 0

    def act(self, obs: Tensor) -> Tensor:
        """The actor's action with exploration noise."""
        action = torch.tanh(self.actor.forward(obs))
        noise = torch.randn(action.shape, generator=self.noise, device=self.device)
        return action.add_(noise, alpha=self.config.exploration_noise).clamp_(-1, 1)

    def target_action(self, following: Tensor) -> Tensor:
        """The target actor's action with clipped noise, so that a critic's narrow peak is not believed, [B, actions]."""
        action = torch.tanh(self.target_actor.forward(following))
        noise = torch.randn(action.shape, generator=self.noise, device=self.device).mul_(self.config.target_noise)
        limit = self.config.target_noise_clip
        return action.add_(noise.clamp_(-limit, limit)).clamp_(-1, 1)

    def update(self, batch: Tensor, log: bool) -> dict[str, Tensor]:
        """One gradient step of the critics; every ``policy_delay`` updates the actor steps and the targets follow."""
        following = self.following_of(batch)
        value = self.critics.target(self.target_action(following), following)
        self.updates += 1
        moves = self.updates % self.config.policy_delay == 0
        scalars = self.fit_critics(batch, value, log, follow=moves)
        if moves:
            obs = self.obs_of(batch)
            action = torch.tanh(self.actor.forward(obs))
            dq = self.critics.first(action, obs)
            self.actor.backward(dq.mul_(1 - action * action).mul_(-1 / len(batch)))
            self.optimizers["actor"].step()
            self.target_actor.flat.value.lerp_(self.actor.flat.value, self.tau)
        return scalars

    def state(self) -> dict[str, Any]:
        """Everything that the next iteration depends on."""
        return super().state() | {"updates": self.updates, "target_actor": self.target_actor.flat.value.clone()}

    def restore(self, state: dict[str, Any]) -> bool:
        """The inverse of :meth:`state`; False if the environments could not be brought back exactly."""
        self.updates = int(state["updates"])
        self.target_actor.flat.value.copy_(state["target_actor"])
        return super().restore(state)
