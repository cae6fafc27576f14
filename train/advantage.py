"""Generalized advantage estimation (Schulman et al. 2016, arXiv 1506.02438)."""

from __future__ import annotations

import numpy as np


def advantages(
    reward: np.ndarray, value: np.ndarray, following: np.ndarray, ended: np.ndarray, gamma: float, lam: float
) -> np.ndarray:
    """A_t = delta_t + gamma * lam * A_{t+1} within an episode, with delta_t = r_t + gamma * V(s_{t+1}) - V(s_t).

    All float [T, n]: ``value`` is V(s_t); ``following`` is V(s_{t+1}) where s_{t+1} is the *last* observation of an
    episode that was cut at t, and 0 where it terminated at t; ``ended`` (bool) is True where the episode stops after t.
    """
    delta = reward + gamma * following - value
    carry = gamma * lam * ~ended
    result = np.zeros_like(delta)
    running = np.zeros(delta.shape[1])
    for t in range(len(delta) - 1, -1, -1):
        running = delta[t] + carry[t] * running
        result[t] = running
    return result
