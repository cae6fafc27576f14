"""Proximal policy optimization, top to bottom: collect with the actor, then a few epochs of clipped updates.

Made fast for small networks: gradients by hand in kept buffers where the layers allow it, one pass for all values of a
rollout, minibatches that are slices of one shuffled table. Environments act on their own device, the update runs on
``device``, and between two rollouts nothing waits for it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import BadInput, Unsupported
from ..policy.contract import Action, Normalizer
from ..policy.layers import Layers, Weights
from ..policy.network import State
from .actor import function, network_layers
from .advantage import advantages
from .clipped_adam import ClippedAdam
from .config import PPOConfig
from .environments import VectorEnv
from .heads import Categorical, Gaussian, Head
from .memory import Memoryless, Net, Simba
from .minibatches import Batch, Columns, Rows, Table
from .normalizer import ObservationNormalizer, RewardScaler
from .off_actor import make_actor
from .rollout import Collector, Rollout
from .sequence import Sequence
from .sparse.learner import sparse_ppo
from .tensor_env import tensor_env
from .vision import conv_layers, normalizer_for, seen_image
from .warm_start import JUDGE_FIRST, loaded
from .wide_products import largest, wide_products

_ROWS = 8192
"""Observations whose values are computed at once: enough to amortize, few enough to stay in the cache."""


class PPO:
    """Schulman et al. 2017, arXiv 1707.06347: :meth:`iterate` collects a rollout and learns from it."""

    name = "PPO"
    critic_is_told = 0
    """Numbers that the critic sees beside observations."""

    def __init__(self, config: PPOConfig, envs: VectorEnv, device: torch.device) -> None:
        self.config, self.device, self.env_id = config, device, envs.env_id
        self.envs = tensor_env(envs)
        self.action, self.discrete = envs.action, envs.discrete
        self.random = np.random.default_rng([config.seed, 1])
        self.noise = torch.Generator(self.envs.device).manual_seed(config.seed)
        weights_from = torch.Generator().manual_seed(config.seed)
        size = envs.observation_size
        cell = None if config.recurrent == "none" else (config.recurrent, config.recurrent_size)
        where = f"training on {config.env}"
        image = seen_image(envs, config.history, where) if config.conv else None
        eyes: tuple[Layers, int] = ((), size)
        if image is not None:
            eyes = conv_layers(image, config.conv, function(config.activation), where)
        shape = (config.hidden, config.activation, config.layer_norm, self.action.size, cell, eyes[0])
        self.layers: Layers = network_layers(eyes[1], *shape)
        self.actor = self._actor(weights_from, device)
        true = self.envs.privileged() if config.asymmetric_critic else None
        if config.asymmetric_critic and true is None:
            raise Unsupported(
                f"asymmetric_critic on {config.env}", expected="an environment with a true state apart from its observation",
                found="none", repair="Leave asymmetric_critic out, or use a batched world with privileged()",
            )  # fmt: skip
        seen = (size if true is None else true.shape[1]) + self.critic_is_told
        # What only a memory can tell the actor, only a memory can tell a critic that sees no more.
        judge = network_layers(
            seen if image is None else eyes[1], config.critic_hidden, "tanh", False, 1, cell if true is None else None, eyes[0]
        )
        self.critic: Net
        if cell and true is None:
            self.critic = Sequence(judge, weights_from, device, 1.0)
        elif config.critic == "simba":
            self.critic = Memoryless(Simba(seen, config.critic_hidden, weights_from, device))
        else:
            self.critic = Memoryless(make_actor(judge, weights_from, device, 1.0))
        self.head = self._head(device)
        self.optimizer = ClippedAdam([self.actor.flat, self.critic.flat, self.head.flat], config.max_grad_norm)
        networks = {"actor": self.actor, "critic": self.critic}
        self.sparse = None if config.sparsity is None else sparse_ppo(config.sparsity, networks, self.optimizer, config.seed)
        # Environments on the CPU are acted on from there, whatever device learns.
        twin = device.type != self.envs.device.type
        self.pilot = self._actor(torch.Generator(), self.envs.device) if twin else self.actor
        self.pilot_head = self._head(self.envs.device) if twin else self.head
        self.normalizer = ObservationNormalizer(size, config.normalize_observation)
        if image is not None:
            self.normalizer = normalizer_for(image, config.normalize_observation, where)
        if config.warm_start is not None:
            policy = loaded(config.warm_start, self.layers, self.action, self.normalizer)
            assert isinstance(self.actor, Memoryless)  # settings of other actors are refused
            self.actor.load(policy.weights)
        judges = None if true is None else ObservationNormalizer(seen, True)
        self._work = max(largest(hidden, config.minibatch_size) for hidden in (config.hidden, config.critic_hidden))
        self._normalizers = [self.normalizer, *([] if judges is None else [judges])]
        self.collector = Collector(self.envs, config.rollout_steps, self.normalizer, judges)
        self.scaler = RewardScaler(len(envs), config.gamma, config.normalize_reward, device)
        self.judgement: State = ()
        """The critic's recurrent tensors before the next rollout."""
        self.steps = 0

    def _actor(self, weights_from: torch.Generator, device: torch.device) -> Net:
        config = self.config
        if config.recurrent == "none":
            return Memoryless(make_actor(self.layers, weights_from, device))
        return Sequence(self.layers, weights_from, device, 0.01, config.recurrent_rank, config.recurrent_sparsity)

    def _head(self, device: torch.device) -> Head:
        size = self.action.size
        return Categorical(size, device) if self.discrete else Gaussian(size, self.config.log_std, device)

    @torch.no_grad()
    def iterate(self) -> tuple[list[tuple[float, int]], dict[str, float]]:
        """Collect one rollout and learn from it -> ((return, length) of finished episodes, scalars to plot)."""
        if self.pilot is not self.actor:
            self.pilot.flat.value.copy_(self.actor.flat.value)
            self.pilot_head.flat.value.copy_(self.head.flat.value)
        rollout = self.collector.collect(self.pilot, self.pilot_head, self.noise)
        self.steps += rollout.reward.numel()
        with wide_products(self._work, self.device):
            scalars = self._learn(rollout.to(self.device))
        if self.sparse is not None:
            self.sparse.settle(self.steps / self.config.steps)
            scalars |= self.sparse.scalars()
        self._quieten()
        return self.envs.finished(), scalars

    def _quieten(self) -> None:
        """Keep the standard deviation under its falling bound."""
        config = self.config
        if config.final_std is not None and isinstance(self.head, Gaussian):
            first, over = math.exp(config.log_std), min(1.0, self.steps / config.steps)
            self.head.log_std.clamp_(max=math.log(first + (config.final_std - first) * over))

    def _values(self, rollout: Rollout) -> tuple[Tensor, Tensor]:
        """(V of every observation, V of what followed it: 0 where the task ended), float64 [T, n] each."""
        steps, n = rollout.reward.shape
        if isinstance(self.critic, Sequence):
            value, following = self._values_in_time(rollout, self.critic)
        else:
            seen = torch.cat([rollout.seen, rollout.last[-1:]]).flatten(0, 1)
            every = torch.cat([self.critic.forward(rows, (), rows)[:, 0].double() for rows in seen.split(_ROWS)])
            value, following = every.view(steps + 1, n)[:-1], every.view(steps + 1, n)[1:].clone()
            # A time limit is not the task's end: what lies behind it is worth V of the last observation.
            cut = rollout.truncated.nonzero(as_tuple=True)
            if len(cut[0]):
                following[cut] = self.critic.forward(rollout.last[cut], (), seen)[:, 0].double()
        return value, following.masked_fill_(rollout.terminated, 0.0)

    def _values_in_time(self, rollout: Rollout, critic: Sequence) -> tuple[Tensor, Tensor]:
        """The same for a critic with a memory: it walks through the rollout, and at every step looks one step aside."""
        value, following = torch.empty_like(rollout.reward), torch.empty_like(rollout.reward)
        state = self.judgement
        for t, seen in enumerate(rollout.seen):
            state = tuple(tensor * (1 - rollout.started[t])[:, None] for tensor in state)
            y, state = critic.step(seen, state)
            value[t] = y[:, 0]
            following[t] = critic.step(rollout.last[t], state)[0][:, 0]
        self.judgement = state
        return value, following

    def _learn(self, rollout: Rollout) -> dict[str, float]:
        config = self.config
        left = max(0.0, 1 - (self.steps - rollout.reward.numel()) / config.steps) if config.schedule == "linear" else 1.0
        rate = config.learning_rate * left
        ended = rollout.terminated | rollout.truncated
        before = self.judgement = self.judgement or self.critic.initial_state(len(self.envs))
        value, following = self._values(rollout)
        advantage = advantages(self.scaler(rollout.reward, ended), value, following, ended, config.gamma, config.gae_lambda)
        target = advantage + value
        recurrent = config.recurrent != "none"
        table = Columns(rollout, advantage, target, before) if recurrent else self._table(rollout, advantage, target)
        logged: list[Tensor] = []
        for _ in range(config.epochs):
            *most, final = table.minibatches(config.minibatch_size, self.random)
            for batch in most:
                self._step(batch, rate)
            logged.append(self._observed_step(final, rate))
            if config.target_kl is not None and float(logged[-1][2]) > config.target_kl:
                break
        variance, unexplained = target.var(), (target - value).var()
        shown = torch.cat(
            [torch.stack(logged).mean(0), torch.stack([variance, unexplained]), self.head.flat.value.exp()]
        ).tolist()
        policy_loss, value_loss, kl, clipped, entropy, spread, error, *std = shown
        if not all(map(math.isfinite, (policy_loss, value_loss, kl))):
            raise BadInput(
                f"training of {self.env_id}",
                expected="finite losses",
                found=f"NaN or infinite after {self.steps} steps",
                repair="Lower learning_rate, or look for NaN in the environment's observations and rewards",
            )
        return {
            "loss/policy": policy_loss,
            "loss/value": value_loss,
            "ppo/approximate_kl": kl,
            "ppo/clipped_share": clipped,
            "ppo/entropy": entropy,
            "ppo/std": sum(std) / max(len(std), 1),
            "ppo/explained_variance": 1 - error / spread if spread > 0 else 0.0,
            "ppo/learning_rate": rate,
        }

    def _table(self, rollout: Rollout, advantage: Tensor, target: Tensor) -> Table:
        return Rows(rollout, advantage, target)

    def _step(self, batch: Batch, rate: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """One gradient step -> (network's output, change of the log-probability, gain, critic's error), each [B] or [B, m]."""
        config, size = self.config, len(batch.target)
        deviation, mean = torch.std_mean(batch.advantage)
        advantage = (batch.advantage - mean).div_(deviation + 1e-8)
        y = self.actor.forward(batch.obs, batch.memory, batch.started)
        change = self.head.log_prob(y, batch.action).sub_(batch.log_prob)
        ratio = change.exp()
        gain = advantage * ratio
        # The smaller of gain and clipped gain: its gradient is the gain's, or nothing once the ratio has gone far enough.
        limit = advantage * ratio.clamp(1 - config.clip, 1 + config.clip)
        by_log_prob = (gain * (gain <= limit)).mul_(-1 / size)
        self.actor.backward(self.head.backward(y, batch.action, by_log_prob, config.entropy))
        error = self.critic.forward(batch.seen, batch.judgement, batch.started)[:, 0] - batch.target
        self.critic.backward((error * (config.value_weight / size))[:, None])
        if self.sparse is not None:
            self.sparse.tick(self.steps / config.steps)
        if config.warm_start is not None and self.steps <= JUDGE_FIRST * config.steps:
            self.actor.flat.gradient.zero_()
            self.head.flat.gradient.zero_()
        self.optimizer.step(rate)
        return y, change, torch.minimum(gain, limit), error

    def _observed_step(self, batch: Batch, rate: float) -> Tensor:
        """A gradient step -> (policy loss, value loss, approximate KL, clipped share, entropy), float64 [5]."""
        y, change, gain, error = self._step(batch, rate)
        ratio = change.exp()
        # (r - 1) - log r is never negative and has little variance (http://joschu.net/blog/kl-approx.html).
        kl, clipped = (ratio - 1 - change).mean(), ((ratio - 1).abs() > self.config.clip).float().mean()
        return torch.stack([-gain.mean(), 0.5 * error.square().mean(), kl, clipped, self.head.entropy(y)]).double()

    def policy_parts(self) -> tuple[Layers, Weights, Normalizer | None, Action]:
        """What the policy bundle is made from."""
        return self.layers, self.actor.weights(), self.normalizer.contract(), self.action

    def state(self) -> dict[str, Any]:
        """Everything that the next iteration depends on."""
        return {
            "optimizer": self.optimizer.state(),
            "normalizers": [normalizer.moments.state() for normalizer in self._normalizers],
            "scaler": self.scaler.state(),
            "random": self.random.bit_generator.state,
            "noise": self.noise.get_state(),
            "judgement": list(self.judgement),
            "collector": self.collector.state(),
            "steps": self.steps,
        } | ({} if self.sparse is None else {"sparse": self.sparse.state()})

    def restore(self, state: dict[str, Any]) -> bool:
        """The inverse of :meth:`state`; False if the environments could not be brought back exactly."""
        self.optimizer.restore(state["optimizer"])
        for normalizer, kept in zip(self._normalizers, state["normalizers"], strict=True):
            normalizer.restore(kept)
        self.scaler.restore(state["scaler"])
        self.random.bit_generator.state = state["random"]
        self.noise.set_state(state["noise"])
        self.judgement = tuple(tensor.to(self.device) for tensor in state["judgement"])
        self.steps = int(state["steps"])
        if self.sparse is not None:
            self.sparse.restore(state["sparse"])
        return self.collector.restore(state["collector"])
