"""Proximal policy optimization, top to bottom: collect with the actor, then a few epochs of clipped updates.

Made fast for one CPU core: the environments' loop only acts; values, log-probabilities and advantages are computed
once per rollout for all transitions together, minibatches are large and are cut from tensors shuffled once per epoch.
Environments step on the CPU; the update runs on ``device``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import BadInput
from ..policy.contract import Action, Normalizer
from ..policy.layers import Layers, Weights
from ..policy.network import Network
from .actor import initialize, mlp, network_layers
from .advantage import advantages
from .config import PPOConfig
from .environments import VectorEnv
from .normalizer import ObservationNormalizer, RewardScaler


@dataclass(eq=False)
class _Rollout:
    """T steps of n environments; what the update learns from."""

    obs: np.ndarray
    """float32 [T, n, observation size], normalized as the actor saw it."""
    action: np.ndarray
    """float32 [T, n, action size], before scale, offset and clip; discrete: int64 [T, n]."""
    reward: np.ndarray
    """float64 [T, n]."""
    terminated: np.ndarray
    """bool [T, n]."""
    truncated: np.ndarray
    """bool [T, n]."""
    cut: dict[tuple[int, int], np.ndarray]
    """(t, env) -> normalized last observation of an episode that a time limit cut there."""
    after: np.ndarray
    """float32 [n, observation size]: the normalized observation after the last step."""


class PPO:
    """One learner: :meth:`iterate` collects a rollout and learns from it."""

    name = "PPO"

    def __init__(self, config: PPOConfig, envs: VectorEnv, device: torch.device) -> None:
        self.config, self.envs, self.device = config, envs, device
        self.random = np.random.default_rng([config.seed, 1])
        weights_from = torch.Generator().manual_seed(config.seed)
        size, self.action = envs.observation_size, envs.action
        self.layers: Layers = network_layers(size, config.hidden, config.activation, config.layer_norm, self.action.size)
        with torch.random.fork_rng(devices=[]):
            self.actor = initialize(Network(self.layers), weights_from).to(device)
            self.critic = mlp((size, *config.critic_hidden, 1), nn.Tanh, weights_from).to(device)
        self.log_std = nn.Parameter(torch.full((self.action.size,), config.log_std, device=device))
        self.parameters = [*self.actor.parameters(), *self.critic.parameters()]
        if not envs.discrete:
            self.parameters.append(self.log_std)
        self.optimizer = torch.optim.Adam(self.parameters, lr=config.learning_rate, eps=1e-5, fused=True)
        self.pilot = self.actor if device.type == "cpu" else Network(self.layers)
        self.normalizer = ObservationNormalizer(size, config.normalize_observation)
        self.scaler = RewardScaler(len(envs), config.gamma, config.normalize_reward)
        self.scale, self.offset = np.asarray(self.action.scale or 1.0), np.asarray(self.action.offset or 0.0)
        self.steps = 0

    def iterate(self) -> tuple[list[tuple[float, int]], dict[str, float]]:
        """Collect one rollout and learn from it -> ((return, length) of finished episodes, scalars to plot)."""
        rollout, finished = self._collect()
        scalars = self._learn(rollout)
        return finished, scalars

    @torch.no_grad()
    def _collect(self) -> tuple[_Rollout, list[tuple[float, int]]]:
        if self.pilot is not self.actor:
            self.pilot.load_state_dict(self.actor.state_dict())
        horizon, n = self.config.rollout_steps, len(self.envs)
        raw = np.zeros((horizon, n, self.envs.observation_size), np.float32)
        seen = np.zeros_like(raw)
        action = np.zeros((horizon, n), np.int64) if self.envs.discrete else np.zeros((horizon, n, self.action.size), np.float32)
        reward = np.zeros((horizon, n))
        terminated, truncated = np.zeros((horizon, n), bool), np.zeros((horizon, n), bool)
        cut: dict[tuple[int, int], np.ndarray] = {}
        finished: list[tuple[float, int]] = []
        std = self.log_std.exp().cpu().numpy()
        obs = self.envs.obs
        for t in range(horizon):
            raw[t], seen[t] = obs, self.normalizer(obs)
            y = self.pilot(torch.from_numpy(seen[t]))[0].numpy()
            if self.envs.discrete:
                # The largest of y + Gumbel noise is a sample of softmax(y).
                action[t] = np.argmax(y + self.random.gumbel(size=y.shape), axis=-1)
                step = self.envs.step(action[t])
            else:
                action[t] = y + std * self.random.standard_normal(y.shape, np.float32)
                step = self.envs.step(self._to_env(action[t]))
            reward[t], terminated[t], truncated[t] = step.reward, step.terminated, step.truncated
            for index, last in step.last.items():
                if step.truncated[index]:
                    cut[t, index] = self.normalizer(last[None])[0]
            finished += step.finished
            obs = step.obs
        self.steps += horizon * n
        rollout = _Rollout(seen, action, reward, terminated, truncated, cut, self.normalizer(obs))
        # Only now: within a rollout the actor, the old probabilities and the new ones must see the same numbers.
        self.normalizer.update(raw.reshape(-1, raw.shape[-1]))
        return rollout, finished

    def _to_env(self, action: np.ndarray) -> np.ndarray:
        units = action * self.scale + self.offset
        return np.clip(units, self.action.low, self.action.high) if self.action.low else units

    @torch.no_grad()
    def _values(self, obs: np.ndarray) -> np.ndarray:
        return self.critic(torch.from_numpy(obs).to(self.device))[..., 0].cpu().numpy().astype(np.float64)

    def _log_prob(self, obs: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """(log pi(action | obs) [B], mean entropy [])."""
        y = self.actor(obs)[0]
        if self.envs.discrete:
            log_p = torch.log_softmax(y, dim=-1)
            return log_p.gather(-1, action[:, None])[:, 0], -(log_p.exp() * log_p).sum(-1).mean()
        spread = -self.log_std - 0.5 * math.log(2 * math.pi)
        z = (action - y) * torch.exp(-self.log_std)
        return (spread - 0.5 * z * z).sum(-1), (0.5 - spread).sum()

    def _targets(self, rollout: _Rollout) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(advantages, value targets, values), each float [T, n]."""
        ended = rollout.terminated | rollout.truncated
        reward = self.scaler(rollout.reward, ended)
        value = self._values(rollout.obs)
        following = np.concatenate([value[1:], self._values(rollout.after)[None]])
        following[ended] = 0.0
        if rollout.cut:  # a time limit is not the task's end: what lies behind it is worth V of the last observation
            where = tuple(np.array(list(rollout.cut)).T)
            following[where] = self._values(np.stack(list(rollout.cut.values())))
        advantage = advantages(reward, value, following, ended, self.config.gamma, self.config.gae_lambda)
        return advantage, advantage + value, value

    def _learn(self, rollout: _Rollout) -> dict[str, float]:
        config, device = self.config, self.device
        if config.schedule == "linear":
            left = max(0.0, 1 - (self.steps - rollout.reward.size) / config.steps)
            self.optimizer.param_groups[0]["lr"] = config.learning_rate * left
        advantage, target, value = self._targets(rollout)

        def flat(array: np.ndarray) -> Tensor:
            rows = array.reshape(-1, *array.shape[2:])
            return torch.from_numpy(rows if array.dtype == np.int64 else rows.astype(np.float32)).to(device)

        data = [flat(array) for array in (rollout.obs, rollout.action, advantage, target)]
        with torch.no_grad():
            data.append(self._log_prob(data[0], data[1])[0])
        total, size = len(data[0]), config.minibatch_size
        logged: list[tuple[Tensor, ...]] = []
        for _ in range(config.epochs):
            order = torch.from_numpy(self.random.permutation(total)).to(device)
            shuffled = [tensor.index_select(0, order) for tensor in data]
            # A ragged rest would be a noisy step: the last transitions of the shuffle wait for the next epoch.
            for begin in range(0, total - size + 1, size):
                logged.append(self._step(*(tensor[begin : begin + size] for tensor in shuffled)))
            if config.target_kl is not None and float(logged[-1][2]) > config.target_kl:
                break
        policy_loss, value_loss, kl, clipped, entropy = torch.tensor(logged).nanmean(0).tolist()
        if not all(map(math.isfinite, (float(torch.stack(logged[-1]).sum()), policy_loss, value_loss))):
            raise BadInput(
                f"training of {self.envs.env_id}",
                expected="finite losses",
                found=f"NaN or infinite after {self.steps} steps",
                repair="Lower learning_rate, or look for NaN in the environment's observations and rewards",
            )
        variance = float(target.var())
        return {
            "loss/policy": policy_loss,
            "loss/value": value_loss,
            "ppo/approximate_kl": kl,
            "ppo/clipped_share": clipped,
            "ppo/entropy": entropy,
            "ppo/std": float(self.log_std.detach().exp().mean()),
            "ppo/explained_variance": 1 - float((target - value).var()) / variance if variance > 0 else 0.0,
            "ppo/learning_rate": self.optimizer.param_groups[0]["lr"],
        }

    def _step(self, obs: Tensor, action: Tensor, advantage: Tensor, target: Tensor, old: Tensor) -> tuple[Tensor, ...]:
        """One gradient step -> (policy loss, value loss, approximate KL, clipped share, entropy)."""
        config = self.config
        advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-8)
        log_prob, entropy = self._log_prob(obs, action)
        change = log_prob - old
        ratio = change.exp()
        surrogate = torch.min(advantage * ratio, advantage * ratio.clamp(1 - config.clip, 1 + config.clip))
        policy_loss = -surrogate.mean()
        value_loss = 0.5 * (self.critic(obs)[:, 0] - target).square().mean()
        loss = policy_loss + config.value_weight * value_loss
        if config.entropy:
            loss = loss - config.entropy * entropy
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.parameters, config.max_grad_norm)
        self.optimizer.step()
        with torch.no_grad():
            # (r - 1) - log r is never negative and has little variance (http://joschu.net/blog/kl-approx.html).
            kl, clipped = (ratio - 1 - change).mean(), ((ratio - 1).abs() > config.clip).float().mean()
        return policy_loss.detach(), value_loss.detach(), kl, clipped, entropy.detach()

    def policy_parts(self) -> tuple[Layers, Weights, Normalizer | None, Action]:
        """What the policy bundle is made from."""
        return self.layers, self.actor.to_weights(), self.normalizer.contract(), self.action

    def state(self) -> dict[str, Any]:
        """Everything that the next iteration depends on."""
        return {
            "actor": self.actor.state_dict(),
            "critic": self.critic.state_dict(),
            "log_std": self.log_std.detach().clone(),
            "optimizer": self.optimizer.state_dict(),
            "normalizer": self.normalizer.moments.state(),
            "scaler": self.scaler.state(),
            "random": self.random.bit_generator.state,
            "envs": self.envs.state(),
            "steps": self.steps,
        }

    def restore(self, state: dict[str, Any]) -> bool:
        """The inverse of :meth:`state`; False if the environments could not be brought back exactly."""
        self.actor.load_state_dict(state["actor"])
        self.critic.load_state_dict(state["critic"])
        with torch.no_grad():
            self.log_std.copy_(state["log_std"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.normalizer.restore(state["normalizer"])
        self.scaler.restore(state["scaler"])
        self.random.bit_generator.state = state["random"]
        self.steps = int(state["steps"])
        return self.envs.restore(state["envs"])
