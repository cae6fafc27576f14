"""Running statistics: of observations, folded into the contract, and of returns, which scale PPO's rewards."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

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
        self.merge(len(wide), wide.mean(axis=0), wide.var(axis=0))

    def update_tensor(self, batch: Tensor) -> None:
        """The same for a tensor on any device; two vectors come back from it."""
        if len(batch):
            variance, mean = torch.var_mean(batch.double(), dim=0, correction=0)
            self.merge(len(batch), mean.cpu().numpy(), variance.cpu().numpy())

    def merge(self, count: int, mean: np.ndarray, variance: np.ndarray) -> None:
        """Merge ``count`` rows of this mean and variance, float64 [size] each."""
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

    def learn(self, obs: Tensor) -> None:
        """:meth:`update` from a tensor on any device."""
        if self.active:
            self.moments.update_tensor(obs)
            self._fold()

    def tensors(self, device: torch.device) -> tuple[Tensor, Tensor] | None:
        """:attr:`constants` on a device; None where inactive."""
        return tuple(torch.from_numpy(array).to(device) for array in self.constants) if self.active else None  # type: ignore[return-value]

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

    def __init__(self, n_envs: int, gamma: float, active: bool, device: torch.device) -> None:
        self.gamma, self.active = gamma, active
        self.moments = Moments(1)
        self._running = torch.zeros(n_envs, dtype=torch.float64, device=device)

    def __call__(self, reward: Tensor, ended: Tensor) -> Tensor:
        """reward float64 [T, n], ended bool [T, n] (episode over after the step) -> scaled float64 [T, n]."""
        if not self.active:
            return reward
        returns = torch.empty_like(reward)
        going = (~ended).double()
        for t in range(len(reward)):
            torch.add(reward[t], self._running, alpha=self.gamma, out=returns[t])
            self._running = returns[t] * going[t]
        self.moments.update_tensor(returns.reshape(-1, 1))
        return (reward / float(np.sqrt(self.moments.variance[0] + EPSILON))).clamp_(-CLIP, CLIP)

    def state(self) -> dict[str, Any]:
        """Plain data for a checkpoint."""
        return {"moments": self.moments.state(), "running": self._running.clone()}

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state`."""
        self.moments.restore(state["moments"])
        self._running = state["running"].to(self._running.device)
