"""What stands between a policy network's output y and an action: its distribution, and the gradients of PPO's loss by y."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor

from .flat import Flat

_HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


class Head(Protocol):
    """A distribution over actions whose parameters are y [B, m] and what the head itself learns (``flat``)."""

    flat: Flat
    columns: int
    """Numbers that one action takes in a row of the rollout."""

    def noise(self, shape: tuple[int, int], generator: torch.Generator) -> Tensor:
        """Randomness for ``shape`` = (steps, rows) decisions, [steps, rows, m]."""

    def sample(self, y: Tensor, noise: Tensor) -> Tensor:
        """y, noise [B, m] -> action, float [B, columns]."""

    def log_prob(self, y: Tensor, action: Tensor) -> Tensor:
        """Logarithm of the density or probability of ``action`` [B, columns] -> [B]."""

    def backward(self, y: Tensor, action: Tensor, by_log_prob: Tensor, entropy_weight: float) -> Tensor:
        """Gradient of a loss by y [B, m]; fills ``flat.gradient``.

        The loss is one whose gradient by the log-probabilities is ``by_log_prob`` [B], minus entropy_weight * mean entropy.
        """

    def entropy(self, y: Tensor) -> Tensor:
        """Mean entropy, a tensor without axes."""


class Gaussian:
    """Independent normals around y; the logarithm of the standard deviation is learned, one per entry, the same everywhere."""

    def __init__(self, size: int, log_std: float, device: torch.device) -> None:
        self.columns = size
        self.flat = Flat([(size,)], device)
        self.log_std = self.flat.value
        self.log_std.fill_(log_std)

    def noise(self, shape: tuple[int, int], generator: torch.Generator) -> Tensor:
        """Standard normal."""
        return torch.randn((*shape, self.columns), generator=generator, device=self.log_std.device)

    def sample(self, y: Tensor, noise: Tensor) -> Tensor:
        """y + std * noise."""
        return torch.addcmul(y, noise, self.log_std.exp())

    def log_prob(self, y: Tensor, action: Tensor) -> Tensor:
        """Sum over the entries."""
        z = (action - y) * torch.exp(-self.log_std)
        return z.square_().sum(-1).mul_(-0.5).sub_(self.log_std.sum() + self.columns * _HALF_LOG_2PI)

    def backward(self, y: Tensor, action: Tensor, by_log_prob: Tensor, entropy_weight: float) -> Tensor:
        """d log p / dy = z / std and d log p / d log std = z^2 - 1, with z = (action - y) / std."""
        inverse = torch.exp(-self.log_std)
        z = (action - y).mul_(inverse)
        weight = by_log_prob[:, None]
        torch.sum(torch.addcmul(-weight, weight, z * z), dim=0, out=self.flat.gradient)
        if entropy_weight:
            self.flat.gradient.sub_(entropy_weight)
        return z.mul_(inverse).mul_(weight)

    def entropy(self, y: Tensor) -> Tensor:
        """log std + log(2 pi e) / 2, summed."""
        return self.log_std.sum() + self.columns * (0.5 + _HALF_LOG_2PI)


class Categorical:
    """One of m choices with probabilities softmax(y)."""

    columns = 1

    def __init__(self, size: int, device: torch.device) -> None:
        self.size = size
        self.flat = Flat([], device)

    def noise(self, shape: tuple[int, int], generator: torch.Generator) -> Tensor:
        """Standard Gumbel: the largest of y + noise is a sample of softmax(y)."""
        draws = torch.empty((*shape, self.size), device=self.flat.value.device)
        return draws.exponential_(generator=generator).log_().neg_()

    def sample(self, y: Tensor, noise: Tensor) -> Tensor:
        """Index of the choice, as a float (exact below 2^24)."""
        return (y + noise).argmax(-1, keepdim=True).float()

    def log_prob(self, y: Tensor, action: Tensor) -> Tensor:
        """Of the choice."""
        return torch.log_softmax(y, dim=-1).gather(-1, action.long())[:, 0]

    def backward(self, y: Tensor, action: Tensor, by_log_prob: Tensor, entropy_weight: float) -> Tensor:
        """d log p(a) / dy = onehot(a) - p; d entropy / dy = -p (log p + entropy)."""
        log_p = torch.log_softmax(y, dim=-1)
        p = log_p.exp()
        weight = by_log_prob[:, None]
        dy = (p * weight).neg_().scatter_add_(1, action.long(), weight)
        if entropy_weight:
            entropy = -(p * log_p).sum(-1, keepdim=True)
            dy.addcmul_(p, log_p + entropy, value=entropy_weight / len(y))
        return dy

    def entropy(self, y: Tensor) -> Tensor:
        """Mean over the rows."""
        log_p = torch.log_softmax(y, dim=-1)
        return -(log_p.exp() * log_p).sum(-1).mean()
