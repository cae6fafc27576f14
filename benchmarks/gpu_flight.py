"""Paired episodes with a GPU contestant in the loop: does the policy still fly?"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from gpu_peers.contestant import Contestant

from pilotfish.policy.bundle import Policy
from pilotfish.runtime.gate import compare
from pilotfish.runtime.play import play
from pilotfish.runtime.reference_returns import reference_returns


class _Flying:
    """A contestant of batch 1 as a session."""

    def __init__(self, contestant: Contestant, policy: Policy) -> None:
        self.contract, self._act, self.reset = policy.contract, contestant.act, contestant.reset
        self.close = contestant.close

    @property
    def state(self) -> np.ndarray:
        raise NotImplementedError("the state stays on the GPU")

    def act(self, obs: np.ndarray) -> np.ndarray:
        return self._act(np.asarray(obs, np.float32)[None])[0].copy()


def fly(contestant: Contestant, policy: Policy, episodes: int) -> dict[str, Any]:
    """Mean return, the float32 reference's, and the paired difference with its 95 % interval."""
    env_id = policy.contract.provenance.env
    if env_id is None:
        raise SystemExit(f"{policy.name} does not say which environment it is for")
    seeds = list(range(episodes))
    world = gymnasium.make(env_id, disable_env_checker=True)
    session = _Flying(contestant, policy)
    returns = [play(session, world, policy.contract, seed)[0] for seed in seeds]  # type: ignore[arg-type]
    world.close()
    contestant.close()
    reference, _ = reference_returns(policy, env_id, seeds)
    found = compare(np.array(returns), np.array(reference))
    low, high = found.difference.low, found.difference.high
    interval = "" if low is None or high is None else f" [{low:,.1f}, {high:,.1f}]"
    return {
        "label": contestant.label,
        "mean": found.mean.value,
        "reference": found.reference.value,
        "difference": f"{found.difference.value:,.1f}{interval}",
        "episodes": episodes,
        "returns": returns,
    }
