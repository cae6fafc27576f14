"""Closed-loop return of a policy while it is being trained: deterministic, on fixed seeds, all episodes in lockstep.

The product's own verdict on an *artifact* is :mod:`pilotfish.runtime`'s; this one only chooses between candidates.
"""

from __future__ import annotations

import numpy as np
import torch

from ..policy.bundle import Policy
from ..policy.environment import check_env, make_env
from ..policy.scene import Scene
from ..policy.torch_policy import TorchPolicy


def held_out_seeds(seed: int, count: int, stream: int = 0xE7A1) -> list[int]:
    """Seeds for evaluation, from a stream that no training environment draws from; another ``stream`` has other seeds."""
    return [int(s) for s in np.random.SeedSequence([seed, stream]).generate_state(count, np.uint32) >> 1]


class ClosedLoop:
    """Runs the same episodes (one per seed) for every policy it is given."""

    def __init__(self, env: str | Scene, seeds: list[int], max_steps: int = 100_000) -> None:
        self.envs = [make_env(env, disable_env_checker=True) for _ in seeds]
        self.seeds, self.max_steps = seeds, max_steps

    @torch.no_grad()
    def returns(self, policy: Policy, seeds: list[int] | None = None) -> np.ndarray:
        """Undiscounted return of each episode, float64 [len(seeds)]; an episode without end is cut at ``max_steps``.

        ``seeds``: others, for this once, at most as many.
        """
        seeds = self.seeds if seeds is None else seeds
        envs = self.envs[: len(seeds)]
        check_env(policy.contract, self.envs[0])
        network = TorchPolicy(policy).eval()
        space = self.envs[0].action_space
        start = int(getattr(space, "start", 0))
        obs = np.stack([np.asarray(env.reset(seed=seed)[0], np.float32) for env, seed in zip(envs, seeds, strict=True)])
        alive = np.arange(len(envs))
        state = network.network.initial_state(len(alive))
        total = np.zeros(len(envs))
        for _ in range(self.max_steps):
            action, state = network(torch.from_numpy(obs), state)
            chosen = action.numpy()
            going = np.ones(len(alive), bool)
            for row, index in enumerate(alive):
                given = (
                    int(chosen[row, 0]) + start if policy.contract.action.kind == "discrete" else chosen[row].astype(space.dtype)
                )
                seen, reward, ended, cut, _ = self.envs[index].step(given)
                total[index] += float(reward)
                obs[row] = seen
                going[row] = not (ended or cut)
            if not going.all():
                kept = torch.from_numpy(going)
                alive, obs, state = alive[going], obs[going], tuple(tensor[kept] for tensor in state)
                if not len(alive):
                    break
        return total

    def close(self) -> None:
        """Release the simulators."""
        for env in self.envs:
            env.close()
