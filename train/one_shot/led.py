"""One-shot training behind a leader: an ordinary policy learns by PPO, and every architecture learns to act like it.

HyperPPO (:mod:`.population`) lets each architecture learn from its own share of the experience, which is plenty with
thousands of environments on a GPU. With the sixteen of a CPU the architectures disturb each other more than they help. Here one
ordinary network, the leader, has most of the experience, and the hypernetwork is taught by on-policy distillation (DAgger, Ross
et al. 2011, arXiv 1011.0686; in-place distillation, as slimmable networks are trained: Yu and Huang 2019, arXiv 1903.05134): some
rollouts are flown by the architectures, and the leader says what it would have done. Its answers cost no experience, so every
gradient step draws other architectures.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...policy.contract import Action, Normalizer
from ...policy.layers import Layers, Weights
from ...policy.torch_policy import transform_action
from ..actor import network_layers
from ..clipped_adam import ClippedAdam
from ..config import PPOConfig
from ..environments import VectorEnv
from ..imitation_loss import imitation_gradient, unit_of
from ..ppo import PPO
from ..rollout import Rollout
from .actors import Actors
from .family import Family, Lottery, Member

EVERY = 6
"""Of so many rollouts one is flown by the architectures."""
SCHOOL = 0.1
"""In this last share of the steps the leader, whose learning rate is near zero by then, learns no more: the architectures fly,
and the hypernetwork's learning rate falls to zero."""
ARCHITECTURES = 8
"""Drawn for each gradient step."""
SHARE = 128
"""Observations for each of them."""
LESSONS = (32, 200)
"""Gradient steps after each rollout, before and in the last share."""
MEMORY = 65_536
"""Observations that are learned from: the latest. Those in it were normalized with the statistics of their time."""
RATE = 2e-3
"""Of the hypernetwork's Adam; its weights move by a third of it (:data:`~pilotfish.train.one_shot.hypernetwork.SPEED`)."""


class Led(PPO):
    """The leader is an ordinary :class:`~pilotfish.train.ppo.PPO`; the policy in the end, and evaluations on the way, are its."""

    name = "one-shot PPO"

    def __init__(self, config: PPOConfig, envs: VectorEnv, device: torch.device) -> None:
        assert config.one_shot is not None
        super().__init__(config, envs, device)
        self.family: Family = config.one_shot
        self.ends = (envs.observation_size, envs.action.size)
        self.lottery = Lottery(self.family, self.ends)
        self.drawing = np.random.default_rng([config.seed, 2])
        self.actors = Actors(self.family, self.ends, torch.Generator().manual_seed(config.seed + 1), device)
        twin = self.pilot is not self.actor
        self.flying = Actors(self.family, self.ends, torch.Generator(), self.envs.device) if twin else self.actors
        self.teaching = ClippedAdam([self.actors.flat], 1.0)
        self.memory = torch.empty(0, envs.observation_size, device=device)
        self.rollouts = 0

    @torch.no_grad()
    def iterate(self) -> tuple[list[tuple[float, int]], dict[str, float]]:
        """One rollout, of the leader or of architectures, and what is learned from it."""
        over = self.steps / self.config.steps
        last = over >= 1 - SCHOOL
        self.rollouts += 1
        scalars: dict[str, float] = {}
        if last or self.rollouts % EVERY == 0:
            finished = self._fly()
        else:
            finished, scalars = super().iterate()
        rate = RATE * max(0.0, 1 - over) / SCHOOL if last else RATE
        return finished, scalars | {"one_shot/error": self._teach(LESSONS[last], rate)}

    def _fly(self) -> list[tuple[float, int]]:
        """A rollout with an architecture in each environment."""
        if self.flying is not self.actors:
            self.flying.follow(self.actors)
        self.flying.choose(self.lottery.draw(len(self.envs), self.drawing))
        rollout = self.collector.collect(self.flying, self.pilot_head, self.noise)
        self.steps += rollout.reward.numel()
        self._remember(rollout)
        return self.envs.finished()

    def _learn(self, rollout: Rollout) -> dict[str, float]:
        self._remember(rollout)
        return super()._learn(rollout)

    def _remember(self, rollout: Rollout) -> None:
        self.memory = torch.cat([self.memory, rollout.obs.flatten(0, 1).to(self.device)])[-MEMORY:]

    def _teach(self, lessons: int, rate: float) -> float:
        """Gradient steps of the hypernetwork towards the leader's actions -> mean square error, in units of half the range."""
        errors: list[Tensor] = []
        unit: Tensor | None = None
        for _ in range(lessons):
            self.actors.choose(self.lottery.draw(ARCHITECTURES, self.drawing), now=False)
            rows = torch.from_numpy(self.drawing.integers(len(self.memory), size=ARCHITECTURES * SHARE))
            x = self.memory[rows.to(self.device)]
            answer = self.actor.forward(x, (), x)
            if not self.discrete:
                answer = transform_action(self.action, answer)
                unit = unit_of(self.action, answer[None]).to(self.device) if unit is None else unit
            error, dy = imitation_gradient(self.action, self.actors.forward(x, (), x), answer, unit)
            self.actors.backward(dy)
            self.teaching.step(rate)
            errors.append(error)
        return float(torch.stack(errors).mean())

    def parts_of(self, member: Member) -> tuple[Layers, Weights, Normalizer | None, Action]:
        """Of any member of the family: plain layers and weights, as if it had been trained alone."""
        layers = network_layers(self.ends[0], member.hidden, member.activation, False, self.ends[1])
        return layers, self.actors.weights_of(member), self.normalizer.contract(), self.action

    def state(self) -> dict[str, Any]:
        """Everything that the next iteration depends on."""
        own = {
            "teaching": self.teaching.state(),
            "drawing": self.drawing.bit_generator.state,
            "memory": self.memory,
            "rollouts": self.rollouts,
        }
        return super().state() | {"one_shot": own}

    def restore(self, state: dict[str, Any]) -> bool:
        """The inverse of :meth:`state`."""
        own = state["one_shot"]
        self.teaching.restore(own["teaching"])
        self.drawing.bit_generator.state = own["drawing"]
        self.memory, self.rollouts = own["memory"].to(self.device), int(own["rollouts"])
        return super().restore(state)
