"""What SAC and TD3 share: stepping, the replay buffer, two critics in one batched product, targets, exact state."""

from __future__ import annotations

import dataclasses
import math
import os
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from ..errors import BadInput, Unsupported
from ..policy.contract import Action, Normalizer
from ..policy.layers import Layers, Weights
from .actor import network_layers
from .config import SACConfig, TD3Config
from .crew import Crew
from .critics import Critics
from .environments import VectorEnv
from .flat import Adam
from .normalizer import CLIP, ObservationNormalizer
from .off_actor import make_actor
from .replay import Replay
from .simba_critics import SimbaCritics
from .sparse.learner import sparse_off_policy
from .stacked import PIECE
from .wide_products import largest, wide_products

STEPS_PER_ITERATION = 16
"""Environment steps between two rounds of updates: few enough to stay on-policy, enough to amortize the loop."""


def threads_for(config: SACConfig | TD3Config, device: torch.device) -> int:
    """The setting ``threads``; where it is 0, two if the critics are wide, the device a CPU and two of its cores ours."""
    if config.threads:
        return config.threads
    if config.critic == "simba":
        return 1
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return 2 if device.type == "cpu" and cores > 1 and largest((*config.critic_hidden, 1), config.batch_size) >= PIECE else 1


class OffPolicy(ABC):
    """One learner: :meth:`iterate` takes a few environment steps and as many gradient steps as the settings say.

    A subclass says how many outputs the actor has per action entry, how it acts, and what one update does.
    """

    name: str
    heads: ClassVar[int] = 1
    """Outputs of the actor's network per action entry; the first is what the finished policy keeps."""
    distribution: ClassVar[str]
    """What the finished policy's action is, for its contract."""

    def __init__(self, config: SACConfig | TD3Config, envs: VectorEnv, device: torch.device) -> None:
        if envs.discrete or not envs.action.low:
            found = f"{envs.action.size} choices" if envs.discrete else "an unbounded one"
            raise Unsupported(
                f"{self.name} on {config.env}", expected="a bounded continuous action", found=found,
                repair='Use algorithm = "ppo"',
            )  # fmt: skip
        self.envs, self.device = envs, device
        self.gamma, self.tau, self.batch_size = config.gamma, config.tau, config.batch_size
        self.learning_starts, self.updates_per_step = config.learning_starts, config.updates_per_step
        self.random = np.random.default_rng([config.seed, 2])
        self.noise = torch.Generator(device).manual_seed(config.seed)
        weights_from = torch.Generator().manual_seed(config.seed)
        size, actions = self.sizes = envs.observation_size, envs.action.size
        self.action: Action = dataclasses.replace(envs.action, squash="tanh", distribution=self.distribution)
        self.scale, self.offset = np.asarray(self.action.scale or 1.0), np.asarray(self.action.offset or 0.0)
        beyond = np.maximum(self.offset + self.scale - self.action.high, self.action.low - (self.offset - self.scale))
        if np.all(beyond <= 1e-6 * self.scale):  # where tanh cannot leave the range, nothing need clip it
            self.action = dataclasses.replace(self.action, low=(), high=())
        crew = Crew(threads_for(config, device))
        shape = (size, config.hidden, config.activation, config.layer_norm)
        self.layers: Layers = network_layers(*shape, actions)
        self.actor = make_actor(network_layers(*shape, self.heads * actions), weights_from, device, crew=crew)
        about = (self.sizes, config.critic_hidden, config.learning_rate, weights_from, device)
        self.critics = SimbaCritics(*about) if config.critic == "simba" else Critics(*about, crew)
        self.optimizers = {"actor": Adam(self.actor.flat, config.learning_rate)}
        self.crew, self.total_steps = crew, config.steps
        self._work = max(largest(hidden, config.batch_size) for hidden in (config.hidden, config.critic_hidden))
        self.sparse = None
        if config.sparsity is not None:
            about_actor = (self.actor, self.optimizers["actor"], actions)
            self.sparse = sparse_off_policy(config.sparsity, *about_actor, self.critics, config.seed)
        self.normalizer = ObservationNormalizer(size, config.normalize_observation)
        self.replay = Replay(min(config.buffer_size, config.steps + len(envs) * STEPS_PER_ITERATION), size, actions, device)
        self.steps = 0
        self._owed = 0.0

    @abstractmethod
    def act(self, obs: Tensor) -> Tensor:
        """Actions in (-1, 1) [n, actions] to explore with, at normalized obs [n, size]."""

    @abstractmethod
    def update(self, batch: Tensor, log: bool) -> dict[str, Tensor]:
        """One gradient step on ``batch`` (rows of the replay buffer, normalized) -> scalars to plot, where ``log``."""

    @torch.no_grad()
    def iterate(self) -> tuple[list[tuple[float, int]], dict[str, float]]:
        """Step, then learn -> ((return, length) of finished episodes, scalars of the last update)."""
        finished: list[tuple[float, int]] = []
        for _ in range(max(1, STEPS_PER_ITERATION // len(self.envs))):
            finished += self._step()
        scalars: dict[str, float] = {}
        while self.steps > self.learning_starts and self._owed >= 1:
            self._owed -= 1
            if self.sparse is not None:
                self.sparse.tick(self.steps / self.total_steps)
            batch = self._batch()
            with wide_products(self._work, self.device):
                logged = self.update(batch, log=self._owed < 1)
            if logged:
                scalars = dict(zip(logged, torch.stack(list(logged.values())).tolist(), strict=True))
        if self.sparse is not None:
            self.sparse.settle(self.steps / self.total_steps)
            scalars |= self.sparse.scalars()
        if not all(map(math.isfinite, scalars.values())):
            raise BadInput(
                f"training of {self.envs.env_id}",
                expected="finite losses",
                found=f"NaN or infinite after {self.steps} steps",
                repair="Lower learning_rate, or look for NaN in the environment's observations and rewards",
            )
        return finished, scalars

    def _step(self) -> list[tuple[float, int]]:
        obs = self.envs.obs
        if self.steps < self.learning_starts:
            action = self.random.uniform(-1, 1, (len(self.envs), self.action.size)).astype(np.float32)
        else:
            action = self.act(torch.from_numpy(self.normalizer(obs)).to(self.device)).cpu().numpy()
            self._owed += len(self.envs) * self.updates_per_step
        step = self.envs.step(action * self.scale + self.offset)
        following = step.obs
        for index, last in step.last.items():
            following[index] = last
        self.replay.add(obs, following, action, step.reward, ~step.terminated)
        self.normalizer.update(obs)
        self.critics.see(torch.from_numpy(self.normalizer(obs)).to(self.device))
        self.steps += len(self.envs)
        return step.finished

    def _batch(self) -> Tensor:
        batch = self.replay.sample(self.random.integers(self.replay.filled, size=self.batch_size))
        if self.normalizer.active:
            mean, inverse = (torch.from_numpy(array).to(self.device) for array in self.normalizer.constants)
            for x in (self.obs_of(batch), self.following_of(batch)):
                x.sub_(mean).mul_(inverse).clamp_(-CLIP, CLIP)
        return batch

    def obs_of(self, batch: Tensor) -> Tensor:
        """[B, size] of rows of the replay buffer."""
        return batch[:, : self.sizes[0]]

    def following_of(self, batch: Tensor) -> Tensor:
        """The observation after the step, [B, size]."""
        return batch[:, sum(self.sizes) : -2]

    def action_of(self, batch: Tensor) -> Tensor:
        """[B, actions]."""
        return batch[:, self.sizes[0] : sum(self.sizes)]

    def fit_critics(self, batch: Tensor, following_value: Tensor, log: bool, follow: bool = True) -> dict[str, Tensor]:
        """One step of both critics towards r + gamma * going * ``following_value`` [B] -> scalars to plot, where ``log``."""
        wanted = torch.addcmul(batch[:, -2], batch[:, -1], following_value, value=self.gamma)
        tau = self.tau if follow else 0.0
        differences, values = self.critics.fit(self.action_of(batch), self.obs_of(batch), wanted, tau)
        if not log:
            return {}
        loss = torch.stack([part.square().sum() for part in differences]).sum() / len(batch)
        return {"loss/critic": loss, f"{self.name.lower()}/q": torch.stack([part.mean() for part in values]).mean()}

    def policy_parts(self) -> tuple[Layers, Weights, Normalizer | None, Action]:
        """What the policy bundle is made from."""
        weights = self.actor.weights()
        kept = {name: tensor[: self.action.size] if name.startswith("out.") else tensor for name, tensor in weights.items()}
        return self.layers, kept, self.normalizer.contract(), self.action

    def state(self) -> dict[str, Any]:
        """Everything that the next iteration depends on."""
        return {
            "optimizers": {name: optimizer.state() for name, optimizer in self.optimizers.items()},
            "critics": self.critics.state(),
            "normalizer": self.normalizer.moments.state(),
            "replay": self.replay.state(),
            "random": self.random.bit_generator.state,
            "noise": self.noise.get_state(),
            "envs": self.envs.state(),
            "steps": self.steps,
            "owed": self._owed,
        } | ({} if self.sparse is None else {"sparse": self.sparse.state()})

    def restore(self, state: dict[str, Any]) -> bool:
        """The inverse of :meth:`state`; False if the environments could not be brought back exactly."""
        for name, optimizer in self.optimizers.items():
            optimizer.restore(state["optimizers"][name])
        self.critics.restore(state["critics"])
        self.normalizer.restore(state["normalizer"])
        self.replay.restore(state["replay"])
        self.random.bit_generator.state = state["random"]
        self.noise.set_state(state["noise"])
        self.steps, self._owed = int(state["steps"]), float(state["owed"])
        if self.sparse is not None:
            self.sparse.restore(state["sparse"])
        return self.envs.restore(state["envs"])
