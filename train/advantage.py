"""Generalized advantage estimation (Schulman et al. 2016, arXiv 1506.02438)."""

from __future__ import annotations

import torch
from torch import Tensor


def advantages(reward: Tensor, value: Tensor, following: Tensor, ended: Tensor, gamma: float, lam: float) -> Tensor:
    """A_t = delta_t + gamma * lam * A_{t+1} within an episode, with delta_t = r_t + gamma * V(s_{t+1}) - V(s_t).

    All float64 [T, n]: ``value`` is V(s_t); ``following`` is V(s_{t+1}) where s_{t+1} is the *last* observation of an
    episode that was cut at t, and 0 where it terminated at t; ``ended`` (bool) is True where the episode stops after t.
    """
    delta = reward + gamma * following - value
    carry = gamma * lam * (~ended).to(delta.dtype)
    result = torch.empty_like(delta)
    running = torch.zeros_like(delta[0])
    for t in range(len(delta) - 1, -1, -1):
        running = torch.addcmul(delta[t], carry[t], running, out=result[t])
    return result
