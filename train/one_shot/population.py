"""HyperPPO: every environment is flown by another architecture, and one hypernetwork learns by PPO from all of them.

Hegde et al. 2023, arXiv 2309.16663: meant for thousands of environments; :mod:`.led` is for few.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...policy.contract import Action, Normalizer
from ...policy.layers import Layers, Weights
from ..actor import network_layers
from ..config import PPOConfig
from ..environments import VectorEnv
from ..memory import Net
from ..minibatches import Batch
from ..ppo import PPO
from ..rollout import Rollout
from .actors import Actors
from .family import Family, Lottery, Member

SEEN = 4
"""What the critic is told of who acts: whose returns it predicts differs between environments."""


class Population(PPO):
    """See :class:`~pilotfish.train.ppo.PPO`. Architectures are drawn anew for every rollout, one per environment; advantages
    are normalized within a minibatch, which holds equally many decisions of each."""

    name = "one-shot PPO"
    critic_is_told = SEEN

    def __init__(self, config: PPOConfig, envs: VectorEnv, device: torch.device) -> None:
        assert config.one_shot is not None
        self.family: Family = config.one_shot
        self.ends = (envs.observation_size, envs.action.size)
        self.lottery = Lottery(self.family, self.ends)
        self.shown = self.family.nearest(config.hidden, config.activation)
        """The member that the evaluations on the way are of."""
        self.drawing = np.random.default_rng([config.seed, 2])
        super().__init__(config, envs, device)

    @property
    def actors(self) -> Actors:
        """The hypernetwork that learns."""
        assert isinstance(self.actor, Actors)
        return self.actor

    def _actor(self, weights_from: torch.Generator, device: torch.device) -> Net:
        return Actors(self.family, self.ends, weights_from, device)

    def iterate(self) -> tuple[list[tuple[float, int]], dict[str, float]]:
        """Draw architectures, collect one rollout with them and learn from it."""
        members = self.lottery.draw(len(self.envs), self.drawing)
        if isinstance(self.pilot, Actors) and self.pilot is not self.actor:
            self.pilot.follow(self.actors)
            self.pilot.choose(members)
        self.actors.choose(members)
        return super().iterate()

    def _learn(self, rollout: Rollout) -> dict[str, float]:
        told = features(self.actors.members, self.family, self.ends).to(rollout.obs.device)
        told = told.expand(len(rollout.obs), -1, -1)
        seen, last = (torch.cat([part, told], dim=-1) for part in (rollout.seen, rollout.last))
        return super()._learn(dataclasses.replace(rollout, seen=seen, last=last))

    def _table(self, rollout: Rollout, advantage: Tensor, target: Tensor) -> Shares:
        return Shares(rollout, advantage, target)

    def policy_parts(self) -> tuple[Layers, Weights, Normalizer | None, Action]:
        """Of the member that is shown."""
        return self.parts_of(self.shown)

    def parts_of(self, member: Member) -> tuple[Layers, Weights, Normalizer | None, Action]:
        """Of any member of the family: plain layers and weights, as if it had been trained alone."""
        layers = network_layers(self.ends[0], member.hidden, member.activation, False, self.ends[1])
        return layers, self.actors.weights_of(member), self.normalizer.contract(), self.action

    def state(self) -> dict[str, Any]:
        """Everything that the next iteration depends on."""
        return super().state() | {"drawing": self.drawing.bit_generator.state}

    def restore(self, state: dict[str, Any]) -> bool:
        """The inverse of :meth:`state`."""
        self.drawing.bit_generator.state = state["drawing"]
        return super().restore(state)


class Shares:
    """All decisions of a rollout, cut so that every minibatch has equally many of each environment, one after the other."""

    def __init__(self, rollout: Rollout, advantage: Tensor, target: Tensor) -> None:
        parts = [rollout.obs, rollout.action, *(part.float()[..., None] for part in (rollout.log_prob, advantage, target))]
        self._widths = [part.shape[-1] for part in (*parts, rollout.seen)]
        self._table = torch.cat([*parts, rollout.seen], dim=-1).transpose(0, 1).contiguous()

    def minibatches(self, size: int, random: np.random.Generator) -> Iterator[Batch]:
        """One epoch of about ``size`` decisions a batch; every environment's steps are shuffled by themselves."""
        n, steps, width = self._table.shape
        share = max(1, min(steps, size // n))
        order = torch.from_numpy(random.random((n, steps)).argsort(axis=1)).to(self._table.device)
        shuffled = self._table.gather(1, order[..., None].expand(-1, -1, width))
        for rows in shuffled[:, : steps // share * share].split(share, dim=1):
            obs, action, log_prob, advantage, target, seen = rows.flatten(0, 1).split(self._widths, dim=1)
            yield Batch(obs, seen, action, log_prob[:, 0], advantage[:, 0], target[:, 0], obs)


def features(members: list[Member], family: Family, ends: tuple[int, int]) -> Tensor:
    """What the critic is told: float32 [A, SEEN], about -1 to 1: weights, narrowest and last width (logarithms), depth."""
    every = np.log([member.weights(ends) for member in (family.members[0], family.members[-1], *members)])
    low, high = min(every), max(every)
    top = np.log(family.widest + 1)
    rows = [
        [
            2 * (size - low) / max(high - low, 1e-9) - 1,
            2 * np.log(min(member.hidden) + 1) / top - 1,
            2 * np.log(member.hidden[-1] + 1) / top - 1,
            2 * len(member.hidden) / family.depth[1] - 1,
        ]
        for size, member in zip(every[2:], members, strict=True)
    ]
    return torch.tensor(np.array(rows), dtype=torch.float32)
