"""Running statistics: of observations, folded into the contract, and of returns, which scale PPO's rewards."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..policy.contract import Normalizer

EPSILON = 1e-8
CLIP = 10.0
"""Both as Stable-Baselines3's VecNormalize, whose policies people know."""


class Moments:
    """Mean and variance of everything seen, merged batch by batch (Chan, Golub & LeVeque 1979), in float64."""

    def __init__(self, size: int) -> None:
        self.count = 0
        self.mean = np.zeros(size)
        self.variance = np.ones(size)

    def update(self, batch: np.ndarray) -> None:
        """Merge ``batch`` [n, size]; the result is that of one pass over all rows ever given."""
        if not len(batch):
            return
        wide = np.asarray(batch, np.float64)
        count, mean, variance = len(wide), wide.mean(axis=0), wide.var(axis=0)
        if not self.count:
            self.count, self.mean, self.variance = count, mean, variance
            return
        total = self.count + count
        delta = mean - self.mean
        spread = self.variance * self.count + variance * count + delta**2 * (self.count * count / total)
        self.mean = self.mean + delta * (count / total)
        self.variance = spread / total
        self.count = total

    def state(self) -> dict[str, Any]:
        """Plain data for a checkpoint."""
        return {"count": self.count, "mean": self.mean.copy(), "variance": self.variance.copy()}

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state`."""
        self.count, self.mean, self.variance = int(state["count"]), np.array(state["mean"]), np.array(state["variance"])


class ObservationNormalizer:
    """z = clip((obs - mean) / sqrt(variance + epsilon)): what the contract's Normalizer says, while it still runs.

    ``active`` False: the identity, and no normalizer in the contract.
    """

    def __init__(self, size: int, active: bool) -> None:
        self.active = active
        self.moments = Moments(size)
        self._fold()

    def _fold(self) -> None:
        self._mean = self.moments.mean.astype(np.float32)
        self._inverse = (1 / np.sqrt(self.moments.variance + EPSILON)).astype(np.float32)

    def update(self, obs: np.ndarray) -> None:
        """Learn from observations [n, size]."""
        if self.active:
            self.moments.update(obs)
            self._fold()

    def __call__(self, obs: np.ndarray) -> np.ndarray:
        """float32 [n, size] -> float32 [n, size]; the same arithmetic as the torch reference."""
        if not self.active:
            return obs
        return np.clip((obs - self._mean) * self._inverse, -CLIP, CLIP)

    @property
    def constants(self) -> tuple[np.ndarray, np.ndarray]:
        """(mean, 1 / sqrt(variance + epsilon)), float32 [size] each."""
        return self._mean, self._inverse

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from the state of :attr:`moments`."""
        self.moments.restore(state)
        self._fold()

    def contract(self) -> Normalizer | None:
        """What must travel with the weights."""
        if not self.active:
            return None
        mean, variance = self.moments.mean, self.moments.variance
        return Normalizer(mean=tuple(mean.tolist()), variance=tuple(variance.tolist()), epsilon=EPSILON, clip=CLIP)


class RewardScaler:
    """Rewards divided by the running standard deviation of the discounted return, then clipped to ±10."""

    def __init__(self, n_envs: int, gamma: float, active: bool) -> None:
        self.gamma, self.active = gamma, active
        self.moments = Moments(1)
        self._running = np.zeros(n_envs)

    def __call__(self, reward: np.ndarray, ended: np.ndarray) -> np.ndarray:
        """reward float64 [T, n], ended bool [T, n] (episode over after the step) -> scaled float64 [T, n]."""
        if not self.active:
            return reward
        returns = np.zeros_like(reward)
        for t in range(len(reward)):
            self._running = self._running * self.gamma + reward[t]
            returns[t] = self._running
            self._running = np.where(ended[t], 0.0, self._running)
        self.moments.update(returns.reshape(-1, 1))
        return np.clip(reward / np.sqrt(self.moments.variance + EPSILON), -CLIP, CLIP)

    def state(self) -> dict[str, Any]:
        """Plain data for a checkpoint."""
        return {"moments": self.moments.state(), "running": self._running.copy()}

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state`."""
        self.moments.restore(state["moments"])
        self._running = np.array(state["running"])
