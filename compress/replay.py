"""A recorded rollout, replayed by changed networks: what calibration and bit widths are chosen by."""

from __future__ import annotations

import dataclasses

import numpy as np

from ..policy import Golden, Policy
from ..policy.layers import Layers, Weights, state_of
from .action_error import action_error
from .activations import network_outputs

MOST_STEPS, MOST_RECURRENT_STEPS = 2000, 400
"""Recorded decisions that are replayed: spread over the rollout, or its first ones where each depends on the one before."""


class Replay:
    """How far changed networks take the actions from those of ``policy``, on the observations of ``golden``."""

    def __init__(self, policy: Policy, golden: Golden) -> None:
        self.policy, self.golden = policy, _thinned(golden, bool(state_of(policy.layers)))
        self.wanted = network_outputs(policy, self.golden)

    def error(self, layers: Layers, weights: Weights) -> float:
        """:func:`.action_error.action_error`; for discrete policies the change of the logits about their mean, in their spread.

        A share of changed choices is too coarse to choose by: over a rollout most candidates change none.
        """
        changed = self.policy.replace(layers=layers, weights=weights, golden=None)
        found = network_outputs(changed, self.golden)
        if self.policy.contract.action.kind == "continuous":
            return action_error(self.policy, self.wanted, found)
        a, b = (y.astype(np.float64) - y.mean(axis=1, keepdims=True) for y in (self.wanted, found))
        return float(np.sqrt(np.square(a - b).mean()) / max(float(a.std()), 1e-6))


def _thinned(golden: Golden, recurrent: bool) -> Golden:
    if recurrent:
        rows = np.arange(min(len(golden), MOST_RECURRENT_STEPS))
    else:
        rows = np.linspace(0, len(golden) - 1, min(len(golden), MOST_STEPS)).astype(int)
    return dataclasses.replace(
        golden, obs=golden.obs[rows], action=golden.action[rows], state=golden.state[rows], start=golden.start[rows]
    )
