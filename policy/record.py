"""Recording the golden rollout: the torch float32 reference acts, and every step is written down."""

from __future__ import annotations

import numpy as np
import torch

from ..errors import BadInput
from .bundle import Policy
from .environment import check_env, make_env, to_env_action
from .golden import Golden
from .scene import scene_of
from .torch_policy import TorchPolicy

MAX_STEPS = 1_000_000


class _Recorder:
    """The reference, one observation at a time, with everything that it saw and did."""

    def __init__(self, policy: Policy) -> None:
        self.network = TorchPolicy(policy).eval()
        self.size = sum(tensor.size for tensor in policy.contract.state)
        self.rows: dict[str, list[np.ndarray]] = {"obs": [], "action": [], "state": []}
        self.start: list[bool] = []
        self.reset()

    def reset(self) -> None:
        """The next step starts an episode."""
        self.state, self.fresh = self.network.network.initial_state(1), True

    @torch.no_grad()
    def act(self, obs: np.ndarray) -> np.ndarray:
        """obs [n] -> action: float32 [m], or int64 [1] if discrete."""
        x = np.asarray(obs, np.float32)
        before = torch.cat(self.state, dim=-1)[0].numpy().copy() if self.state else np.zeros(0, np.float32)
        action, self.state = self.network(torch.from_numpy(x)[None], self.state)
        for key, value in (("obs", x), ("action", action[0].numpy().copy()), ("state", before)):
            self.rows[key].append(value)
        self.start.append(self.fresh)
        self.fresh = False
        return self.rows["action"][-1]


def record_golden(policy: Policy, env: str | None, steps: int = 1000, seed: int = 0) -> Golden:
    """Record ``steps`` decisions of ``policy``, closed loop in the environment ``env`` (as its contract expects it), episodes
    back to back.

    Episode k starts from ``reset(seed=seed + k)``; the last one may be cut off. Without an environment the
    observations are random: drawn from the normalizer's mean and variance where there is one, else standard
    normal; all steps then form one episode, so that the drift of a recurrent state shows.
    Raises BadInput where the environment does not fit the contract or the policy acts with NaN.
    """
    if not 1 <= steps <= MAX_STEPS:
        raise BadInput("golden rollout", expected=f"1 to {MAX_STEPS} steps", found=f"{steps}")
    recorder = _Recorder(policy)
    if env is None:
        for obs in _random_observations(policy, steps, seed):
            recorder.act(obs)
    else:
        _close_the_loop(policy, recorder, env, steps, seed)
    action = np.stack(recorder.rows["action"])
    if not np.isfinite(action).all():
        raise BadInput(
            policy.name,
            expected="finite actions",
            found=f"NaN or infinite at step {int((~np.isfinite(action)).any(axis=1).argmax())} of the golden rollout",
            repair="Check the normalizer and the weights",
        )
    return Golden(
        obs=np.stack(recorder.rows["obs"]),
        action=action,
        state=np.stack(recorder.rows["state"]),
        start=np.asarray(recorder.start, bool),
        source="random observations" if env is None else "environment",
    )


def _random_observations(policy: Policy, steps: int, seed: int) -> np.ndarray:
    """float32 [steps, n], reproducible from the seed."""
    draws = np.random.default_rng(seed).standard_normal((steps, policy.contract.observation.size))
    normalizer = policy.contract.observation.normalizer
    if normalizer:
        draws = np.asarray(normalizer.mean) + np.sqrt(np.asarray(normalizer.variance)) * draws
    return draws.astype(np.float32)


def _close_the_loop(policy: Policy, recorder: _Recorder, env_id: str, steps: int, seed: int) -> None:
    env = make_env(scene_of(policy.contract, env_id))
    try:
        check_env(policy.contract, env)
        episode, done, obs = 0, True, None
        for _ in range(steps):
            if done:
                obs, _ = env.reset(seed=seed + episode)
                recorder.reset()
                episode += 1
            action = recorder.act(np.asarray(obs))
            if policy.contract.action.kind == "continuous" and not np.isfinite(action).all():
                return  # record_golden says so; the simulator must not see it
            obs, _, terminated, truncated, _ = env.step(to_env_action(policy.contract, env, action))
            done = terminated or truncated
    finally:
        env.close()
