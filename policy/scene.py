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
    """k: how many actions a step of the scene takes, which is a decision."""
    history: int = 1
    """Frames that the observation stacks."""
    observation_delay: tuple[int, int] = (0, 0)
    """Steps of the environment by which observations are late; drawn anew for every episode, both ends included."""
    latency: Latency | None = None
    """By how much the actions of a decision are late; drawn anew for every decision."""
    decision_steps: int | None = None
    """Steps of the environment between two decisions; None: k. Fewer than k leave actions over, more hold the last one."""

    drop_late: bool = False
    """A decision that is later than the next one is due is never obeyed, as by a loop that drops it at its deadline."""

    @property
    def steps(self) -> int:
        """Steps of the environment per decision."""
        return self.decision_steps or self.actions_per_decision

    def __str__(self) -> str:
        parts = [self.env]
        if self.actions_per_decision > 1:
            parts.append(f"{self.actions_per_decision} actions per decision")
        if self.steps != self.actions_per_decision:
            parts.append(f"a decision every {self.steps} steps")
        if self.history > 1:
            parts.append(f"{self.history} frames")
        low, high = self.observation_delay
        if high:
            parts.append(f"observations {low} steps late" if low == high else f"observations {low} to {high} steps late")
        if self.latency:
            parts.append(f"actions {self.latency.mean_us:,.0f} us late on average")
            if self.drop_late:
                parts.append("decisions dropped that miss their deadline")
        return ", ".join(parts)


def plain(scene: Scene) -> str | Scene:
    """The id where that says it all, so that batched worlds are found by it."""
    punctual = (scene.steps, scene.actions_per_decision, scene.history, scene.observation_delay[1], scene.latency)
    return scene.env if punctual == (1, 1, 1, 0, None) else scene


def scene_of(
    contract: Contract,
    env: str,
    *,
    observation_delay: tuple[int, int] | None = None,
    latency: Latency | None = None,
    drop_late: bool = False,
) -> str | Scene:
    """The environment ``env`` as a policy of this contract expects it, late as in its training unless told otherwise."""
    timing = contract.timing
    delay = timing.observation_delay if observation_delay is None else observation_delay
    late = timing.latency if latency is None else latency
    punctual = late is not None and late.edges_us[-1] == 0
    shown = None if punctual else late
    dropped = drop_late and shown is not None
    held = timing.hold if timing.hold > 1 else None
    return plain(Scene(env, timing.actions_per_decision, contract.observation.history, delay, shown, held, dropped))
