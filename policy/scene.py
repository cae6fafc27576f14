"""A scene: an environment, and what time does between its observations and the policy's actions."""

from __future__ import annotations

from dataclasses import dataclass

from .contract import Contract
from .latency import Latency


@dataclass(frozen=True)
class Scene:
    """What :func:`pilotfish.policy.environment.make_env` makes where an environment's id alone does not say it all."""

    env: str
    """Id of the environment."""
    actions_per_decision: int = 1
    """k: every step of the scene is a decision, k steps of the environment."""
    history: int = 1
    """Frames that the observation stacks."""
    observation_delay: tuple[int, int] = (0, 0)
    """Steps of the environment by which observations are late; drawn anew for every episode, both ends included."""
    latency: Latency | None = None
    """By how much the actions of a decision are late; drawn anew for every decision."""

    def __str__(self) -> str:
        parts = [self.env]
        if self.actions_per_decision > 1:
            parts.append(f"{self.actions_per_decision} actions per decision")
        if self.history > 1:
            parts.append(f"{self.history} frames")
        low, high = self.observation_delay
        if high:
            parts.append(f"observations {low} steps late" if low == high else f"observations {low} to {high} steps late")
        if self.latency:
            parts.append(f"actions {self.latency.mean_us:,.0f} us late on average")
        return ", ".join(parts)


def plain(scene: Scene) -> str | Scene:
    """The id where that says it all, so that batched worlds are found by it."""
    return scene.env if scene == Scene(scene.env) else scene


def scene_of(contract: Contract, env: str) -> str | Scene:
    """The environment ``env`` as a policy of this contract expects it."""
    timing = contract.timing
    return plain(
        Scene(
            env,
            timing.actions_per_decision,
            contract.observation.history,
            timing.observation_delay,
            timing.latency,
        )
    )
