"""How far another network's actions are from the policy's, on the same recorded observations."""

from __future__ import annotations

import numpy as np

from ..policy import Policy
from ..policy.contract import Action


def actions(action: Action, y: np.ndarray) -> np.ndarray:
    """float64 [T, size] of what the actuators get for network outputs y [T, size]; int [T, 1] if discrete."""
    if action.kind == "discrete":
        return np.asarray(y.argmax(axis=1)[:, None])
    a = np.tanh(y) if action.squash == "tanh" else y
    a = a * np.asarray(action.scale or 1.0) + np.asarray(action.offset or 0.0)
    return np.clip(a, action.low, action.high) if action.low else np.asarray(a)


def action_error(policy: Policy, wanted: np.ndarray, found: np.ndarray) -> float:
    """Root mean square over steps and entries of the change of the action, for network outputs [T, size].

    The unit is half the range of an entry where it has one, else the spread of the wanted actions. Discrete: the share of
    steps that decide otherwise.
    """
    action = policy.contract.action
    a, b = actions(action, wanted.astype(np.float64)), actions(action, found.astype(np.float64))
    if action.kind == "discrete":
        return float((a != b).mean())
    unit = (np.subtract(action.high, action.low) / 2) if action.low else a.std(axis=0)
    return float(np.sqrt(np.mean(((a - b) / np.maximum(unit, 1e-6)) ** 2)))
