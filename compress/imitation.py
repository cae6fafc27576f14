"""Imitation: how a compressed policy is taught by the policy that it was made from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import Field
from pydantic.dataclasses import dataclass

from .passes import STRICT

if TYPE_CHECKING:
    from ..train.config import DistillConfig


@dataclass(frozen=True, config=STRICT)
class Imitation:
    """Budget of an on-policy distillation (DAgger): the student acts, the recipe's original policy labels."""

    steps: Annotated[int, Field(gt=0)] = 20_000
    """Environment steps in all."""
    iterations: Annotated[int, Field(gt=0, le=1000)] = 4
    """Rounds of acting and learning that the steps are spread over."""
    epochs: Annotated[int, Field(gt=0, le=10_000)] = 10
    """Passes over the collected steps per round."""
    batch_size: Annotated[int, Field(gt=0)] = 512
    """Steps per gradient step."""
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 3e-3
    """Of Adam, at the start of each round."""
    teacher_share: Annotated[float, Field(ge=0, le=1)] = 0.0
    """Probability that the teacher acts in the first round; 0: the student acts from the start, as it is nearly there."""
    n_envs: Annotated[int, Field(gt=0, le=4096)] = 32
    """Copies of the environment that act side by side: more of them see more beginnings and shorter pieces of episodes."""
    restart_share: Annotated[float, Field(ge=0, le=1)] = 0.25
    """Share of the environment's copies that start a new episode at each round: what is learned of beginnings."""
    noise: Annotated[float, Field(ge=0, le=10)] = 0.0
    """Disturbs the actions in half of the environment's copies, as a share of half their range: a student learns to come back
    from where it would seldom be."""
    window: Annotated[int, Field(gt=0, le=100_000)] = 64
    """Decisions per training window of a recurrent student (truncated back-propagation through time)."""
    judged_episodes: Annotated[int, Field(gt=0, le=10_000)] = 20
    """Episodes on held-out seeds by which one of the rounds' students is chosen. Where policies fall now and then, as an
    SB3-zoo PPO HalfCheetah does in 1 or 2 of 100 episodes, fewer than 100 cannot tell a steady student from a lucky one."""
    without_environment: bool = False
    """True: a policy that has no environment here learns from the teacher's answers to its recorded rollout, or else to random
    observations; the provenance's notes say so, because nothing is known about its return then."""

    def trainer(self, seed: int) -> DistillConfig:
        """The same for the trainer."""
        from ..train.config import DistillConfig

        return DistillConfig(
            steps=self.steps,
            iterations=self.iterations,
            epochs=self.epochs,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            teacher_share=self.teacher_share,
            restart_share=self.restart_share,
            n_envs=self.n_envs,
            noise=self.noise,
            window=self.window,
            eval_episodes=1 if self.iterations == 1 else self.judged_episodes,  # one round leaves nothing to choose from
            seed=seed,
        )
