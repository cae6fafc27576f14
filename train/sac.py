"""Soft actor-critic, top to bottom: a squashed Gaussian actor, two critics in one batched product, a tuned temperature."""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import BadInput, Unsupported
from ..policy.contract import Action, Normalizer
from ..policy.layers import Layers, Weights
from ..policy.network import Network
from .actor import initialize, network_layers
from .config import SACConfig
from .environments import VectorEnv
from .normalizer import CLIP, ObservationNormalizer
from .replay import Replay

STEPS_PER_ITERATION = 16
"""Environment steps between two rounds of updates: few enough to stay on-policy, enough to amortize the loop."""
LOG_STD_RANGE = (-5.0, 2.0)


class TwinCritics(nn.Module):
    """Two Q-functions of one shape, evaluated as one batched matrix product: (obs, action) -> [2, B]."""

    def __init__(self, sizes: tuple[int, ...], generator: torch.Generator) -> None:
        super().__init__()
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for fan_in, fan_out in itertools.pairwise(sizes):
            bound = 1 / math.sqrt(fan_in)
            for group, shape in ((self.weights, (2, fan_in, fan_out)), (self.biases, (2, 1, fan_out))):
                group.append(nn.Parameter(torch.empty(shape).uniform_(-bound, bound, generator=generator)))

    def forward(self, obs: Tensor, action: Tensor) -> Tensor:
        x = torch.cat([obs, action], dim=-1).expand(2, -1, -1)
        last = len(self.weights) - 1
        for index, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            x = torch.baddbmm(bias, x, weight)
            if index < last:
                x = F.relu(x)
        return x[..., 0]


class SAC:
    """One learner: :meth:`iterate` takes a few environment steps and as many gradient steps as the settings say."""

    name = "SAC"

    def __init__(self, config: SACConfig, envs: VectorEnv, device: torch.device) -> None:
        if envs.discrete or not envs.action.low:
            found = f"{envs.action.size} choices" if envs.discrete else "an unbounded one"
            raise Unsupported(
                f"SAC on {config.env}", expected="a bounded continuous action", found=found, repair='Use algorithm = "ppo"'
            )
        self.config, self.envs, self.device = config, envs, device
        self.random = np.random.default_rng([config.seed, 2])
        self.noise = torch.Generator(device).manual_seed(config.seed)
        weights_from = torch.Generator().manual_seed(config.seed)
        size, actions = envs.observation_size, envs.action.size
        self.action: Action = dataclasses.replace(
            envs.action, squash="tanh", low=(), high=(), distribution="squashed Gaussian mean"
        )
        self.scale, self.offset = np.asarray(self.action.scale or 1.0), np.asarray(self.action.offset or 0.0)
        self.layers: Layers = network_layers(size, config.hidden, config.activation, config.layer_norm, actions)
        features = config.hidden[-1] if config.hidden else size
        with torch.random.fork_rng(devices=[]):
            self.body = initialize(Network(self.layers[:-1]), weights_from, out_gain=None).to(device)
            self.mean = initialize(Network(self.layers[-1:]), weights_from).to(device)
            self.log_std = nn.Linear(features, actions)
            nn.init.orthogonal_(self.log_std.weight, 0.01, generator=weights_from)
            nn.init.zeros_(self.log_std.bias)
            self.log_std.to(device)
            self.critics = TwinCritics((size + actions, *config.critic_hidden, 1), weights_from).to(device)
            self.targets = TwinCritics((size + actions, *config.critic_hidden, 1), weights_from).to(device).requires_grad_(False)
        self.targets.load_state_dict(self.critics.state_dict())
        self.log_alpha = nn.Parameter(torch.zeros((), device=device))
        self.target_entropy = -float(actions) if config.target_entropy is None else config.target_entropy
        self.actor_parameters = [*self.body.parameters(), *self.mean.parameters(), *self.log_std.parameters()]
        rate = config.learning_rate
        self.actor_optimizer = torch.optim.Adam(self.actor_parameters, lr=rate, fused=True)
        self.critic_optimizer = torch.optim.Adam(self.critics.parameters(), lr=rate, fused=True)
        self.alpha_optimizer = torch.optim.Adam([self.log_alpha], lr=rate, fused=True)
        self.normalizer = ObservationNormalizer(size, config.normalize_observation)
        self.replay = Replay(min(config.buffer_size, config.steps + len(envs) * STEPS_PER_ITERATION), size, actions, device)
        self.steps = 0
        self._owed = 0.0

    def iterate(self) -> tuple[list[tuple[float, int]], dict[str, float]]:
        """Step, then learn -> ((return, length) of finished episodes, scalars to plot)."""
        finished = self._collect(max(1, STEPS_PER_ITERATION // len(self.envs)))
        scalars: dict[str, float] = {}
        if self.steps > self.config.learning_starts:
            logged = []
            while self._owed >= 1:
                self._owed -= 1
                logged.append(self._update(*self._batch()))
            if logged:
                names = ("loss/critic", "loss/actor", "sac/entropy", "sac/alpha", "sac/q")
                scalars = dict(zip(names, torch.stack([torch.stack(row) for row in logged]).mean(0).tolist(), strict=True))
                if not all(map(math.isfinite, scalars.values())):
                    raise BadInput(
                        f"training of {self.envs.env_id}",
                        expected="finite losses",
                        found=f"NaN or infinite after {self.steps} steps",
                        repair="Lower learning_rate, or look for NaN in the environment's observations and rewards",
                    )
        return finished, scalars

    @torch.no_grad()
    def _collect(self, horizon: int) -> list[tuple[float, int]]:
        finished: list[tuple[float, int]] = []
        for _ in range(horizon):
            obs = self.envs.obs
            if self.steps < self.config.learning_starts:
                action = self.random.uniform(-1, 1, (len(self.envs), self.action.size)).astype(np.float32)
            else:
                seen = torch.from_numpy(self.normalizer(obs)).to(self.device)
                action = self._sample(seen)[0].cpu().numpy()
                self._owed += len(self.envs) * self.config.updates_per_step
            step = self.envs.step(action * self.scale + self.offset)
            following = step.obs
            for index, last in step.last.items():
                following[index] = last
            self.replay.add(obs, following, action, step.reward, ~step.terminated)
            self.normalizer.update(obs)
            self.steps += len(self.envs)
            finished += step.finished
        return finished

    def _batch(self) -> tuple[Tensor, ...]:
        rows = self.random.integers(self.replay.filled, size=self.config.batch_size)
        obs, following, *rest = self.replay.sample(rows)
        if self.normalizer.active:
            mean, inverse = (torch.from_numpy(array).to(self.device) for array in self.normalizer.constants)
            obs, following = (((x - mean) * inverse).clamp(-CLIP, CLIP) for x in (obs, following))
        return obs, following, *rest

    def _sample(self, obs: Tensor) -> tuple[Tensor, Tensor]:
        """A sampled action in (-1, 1) [B, size] and its log-probability [B]."""
        features = self.body(obs)[0]
        mean, log_std = self.mean(features)[0], self.log_std(features).clamp(*LOG_STD_RANGE)
        noise = torch.randn(mean.shape, generator=self.noise, device=self.device)
        u = mean + log_std.exp() * noise
        # log(1 - tanh(u)^2) = 2 (log 2 - u - softplus(-2u)), which does not cancel for large u.
        log_prob = -0.5 * noise.square() - log_std - 0.5 * math.log(2 * math.pi) - 2 * (math.log(2) - u - F.softplus(-2 * u))
        return torch.tanh(u), log_prob.sum(-1)

    def target(self, following: Tensor, reward: Tensor, going: Tensor) -> Tensor:
        """Soft Bellman target r + gamma * going * (min Q'(s', a') - alpha * log pi(a' | s')), [B]."""
        with torch.no_grad():
            action, log_prob = self._sample(following)
            value = self.targets(following, action).amin(0) - self.log_alpha.exp() * log_prob
            return reward + self.config.gamma * going * value

    def _update(self, obs: Tensor, following: Tensor, action: Tensor, reward: Tensor, going: Tensor) -> tuple[Tensor, ...]:
        """One gradient step of critics, actor and temperature; the targets follow -> scalars to plot."""
        target = self.target(following, reward, going)
        q = self.critics(obs, action)
        critic_loss = (q - target).square().mean(1).sum()
        self.critic_optimizer.zero_grad(set_to_none=True)
        critic_loss.backward()
        self.critic_optimizer.step()

        chosen, log_prob = self._sample(obs)
        alpha = self.log_alpha.detach().exp()
        actor_loss = (alpha * log_prob - self.critics(obs, chosen).amin(0)).mean()
        # Gradients of the actor alone: the critics' are not needed here, and cost as much again.
        for parameter, gradient in zip(
            self.actor_parameters, torch.autograd.grad(actor_loss, self.actor_parameters), strict=True
        ):
            parameter.grad = gradient
        self.actor_optimizer.step()

        self.log_alpha.grad = -(log_prob.detach() + self.target_entropy).mean()
        self.alpha_optimizer.step()
        with torch.no_grad():
            torch._foreach_lerp_(list(self.targets.parameters()), list(self.critics.parameters()), self.config.tau)
        return critic_loss.detach(), actor_loss.detach(), -log_prob.detach().mean(), alpha, q.detach().mean()

    def policy_parts(self) -> tuple[Layers, Weights, Normalizer | None, Action]:
        """What the policy bundle is made from."""
        weights = self.body.to_weights() | self.mean.to_weights()
        return self.layers, weights, self.normalizer.contract(), self.action

    _MODULES = ("body", "mean", "log_std", "critics", "targets", "actor_optimizer", "critic_optimizer", "alpha_optimizer")

    def state(self) -> dict[str, Any]:
        """Everything that the next iteration depends on."""
        return {name: getattr(self, name).state_dict() for name in self._MODULES} | {
            "log_alpha": self.log_alpha.detach().clone(),
            "normalizer": self.normalizer.moments.state(),
            "replay": self.replay.state(),
            "random": self.random.bit_generator.state,
            "noise": self.noise.get_state(),
            "envs": self.envs.state(),
            "steps": self.steps,
            "owed": self._owed,
        }

    def restore(self, state: dict[str, Any]) -> bool:
        """The inverse of :meth:`state`; False if the environments could not be brought back exactly."""
        for name in self._MODULES:
            getattr(self, name).load_state_dict(state[name])
        with torch.no_grad():
            self.log_alpha.copy_(state["log_alpha"])
        self.normalizer.restore(state["normalizer"])
        self.replay.restore(state["replay"])
        self.random.bit_generator.state = state["random"]
        self.noise.set_state(state["noise"])
        self.steps, self._owed = int(state["steps"]), float(state["owed"])
        return self.envs.restore(state["envs"])
