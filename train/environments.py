"""Copies of one environment that step together in this process, and whose exact state can be saved by replay.

A plain loop over the copies, measured 1.25-1.4 times as fast as ``gymnasium.vector.SyncVectorEnv`` on MuJoCo tasks
(HalfCheetah-v5, Reacher-v5, Swimmer-v5, InvertedPendulum-v5), and it says at once what a learner must know: which
observation was the last one of an episode (Gymnasium's own default, NEXT_STEP, puts a dead step there instead).
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import BadInput
from ..policy.contract import Action
from ..policy.environment import make_env
from ..policy.scene import Scene


@dataclass(frozen=True, eq=False)
class Step:
    """What one step of all n copies gave. Where an episode ended, ``obs`` is already the first of the next one."""

    obs: np.ndarray
    """float32 [n, observation size]: what to act on next."""
    reward: np.ndarray
    """float64 [n]."""
    terminated: np.ndarray
    """bool [n]: the episode ended in the task itself; its future is worth nothing."""
    truncated: np.ndarray
    """bool [n]: the episode was cut (time limit) and did not terminate; its future is worth V(last observation)."""
    last: dict[int, np.ndarray]
    """For every copy whose episode ended: its last observation, float32 [observation size]."""
    finished: list[tuple[float, int]]
    """(return, length) of every episode that ended."""


class VectorEnv:
    """n copies of a Gymnasium environment, each with its own random stream derived from ``seed``.

    Raises BadInput or Unsupported for an environment that :func:`pilotfish.policy.environment.make_env` refuses.
    """

    def __init__(self, env_id: str | Scene, count: int, seed: int, rows: range | None = None) -> None:
        """``rows``: only these of the ``count`` copies; None: all."""
        rows = range(count) if rows is None else rows
        self._rows, self._whole, count = rows, count, len(rows)
        self.env_id = str(env_id)
        self.envs = [make_env(env_id, disable_env_checker=True) for _ in rows]
        space = self.envs[0].action_space
        self.discrete = hasattr(space, "n")
        self._start = int(getattr(space, "start", 0))
        self._dtype = None if self.discrete else space.dtype
        self.observation_size = int(np.prod(self.envs[0].observation_space.shape or (0,)))
        self.action = action_of(space)
        self._journal: list[list[np.ndarray]] = [[] for _ in self.envs]
        self._streams: list[dict[str, Any]] = [{} for _ in self.envs]
        self._returns = np.zeros(count)
        self._obs = np.zeros((count, self.observation_size), np.float32)
        self.begin(seed)

    def begin(self, seed: int) -> None:
        """Start all copies over, as if they had just been made with ``seed``."""
        streams = np.random.SeedSequence(seed).spawn(self._whole)[self._rows.start : self._rows.stop]
        for env, stream in zip(self.envs, streams, strict=True):
            env.reset(seed=int(stream.generate_state(1)[0]))
        for index in range(len(self.envs)):
            self._begin(index)

    def __len__(self) -> int:
        return len(self.envs)

    @property
    def obs(self) -> np.ndarray:
        """float32 [n, observation size]: what to act on now (a copy)."""
        return self._obs.copy()

    def step(self, actions: np.ndarray) -> Step:
        """actions: float [n, action size] in the environment's own units, or int [n] if discrete."""
        count = len(self.envs)
        reward = np.zeros(count)
        terminated, truncated = np.zeros(count, bool), np.zeros(count, bool)
        last: dict[int, np.ndarray] = {}
        finished: list[tuple[float, int]] = []
        chosen = actions if self.discrete else actions.astype(self._dtype)  # a copy: journals keep rows of it
        for index, env in enumerate(self.envs):
            action = chosen[index]
            self._journal[index].append(action)
            obs, value, ended, cut, _ = env.step(int(action) + self._start if self.discrete else action)
            reward[index] = value
            self._returns[index] += value
            self._obs[index] = obs
            if ended or cut:
                terminated[index], truncated[index] = ended, cut and not ended
                last[index] = self._obs[index].copy()
                finished.append((float(self._returns[index]), len(self._journal[index])))
                self._begin(index)
        return Step(self._obs.copy(), reward, terminated, truncated, last, finished)

    def restart(self, indices: np.ndarray) -> None:
        """Abandon the episodes of these copies, int [k], and start new ones."""
        for index in indices.tolist():
            self._begin(index)

    def _begin(self, index: int) -> None:
        """Start an episode, and note where its random stream stood."""
        env = self.envs[index]
        self._streams[index] = dict(env.unwrapped.np_random.bit_generator.state)
        self._journal[index] = []
        self._returns[index] = 0.0
        self._obs[index], _ = env.reset()

    def state(self) -> dict[str, Any]:
        """Where every copy stands, as plain data: its random stream at the episode's start and the actions since.

        No simulator is asked for its memory: :meth:`restore` replays the actions, which is exact for every
        environment that draws its randomness from ``np_random``, and is checked.
        """
        return {
            "streams": json.dumps(self._streams, default=lambda array: {"array": array.tolist(), "dtype": str(array.dtype)}),
            "journals": [np.array(journal) for journal in self._journal],
            "obs": self._obs.copy(),
        }

    def restore(self, state: dict[str, Any]) -> bool:
        """Bring every copy to where :meth:`state` left it; False if an environment did not replay bit by bit."""
        streams = json.loads(state["streams"], object_hook=_array_hook)
        if len(streams) != len(self.envs):
            raise BadInput("checkpoint", expected=f"{len(self.envs)} environments", found=f"{len(streams)}")
        for index, (env, stream) in enumerate(zip(self.envs, streams, strict=True)):
            env.unwrapped.np_random.bit_generator.state = stream
            self._begin(index)
            for action in state["journals"][index]:
                self._journal[index].append(action)
                obs, value, *_ = env.step(int(action) + self._start if self.discrete else action)
                self._returns[index] += value
                self._obs[index] = obs
        return bool(np.array_equal(self._obs, state["obs"], equal_nan=True))

    def close(self) -> None:
        """Release the simulators."""
        for env in self.envs:
            env.close()


def _array_hook(value: dict[str, Any]) -> Any:
    return np.array(value["array"], value["dtype"]) if set(value) == {"array", "dtype"} else value


def action_of(space: Any) -> Action:
    """The contract's action for a Box or Discrete space; a bounded Box maps y in [-1, 1] onto its range."""
    if hasattr(space, "n"):
        return Action(kind="discrete", size=int(space.n), distribution="categorical mode")
    low, high = np.asarray(space.low, np.float64), np.asarray(space.high, np.float64)
    if not (np.isfinite(low).all() and np.isfinite(high).all()):
        return Action(kind="continuous", size=len(low), distribution="Gaussian mean")
    scale, offset = (high - low) / 2, (high + low) / 2
    return Action(
        kind="continuous",
        size=len(low),
        scale=() if np.all(scale == 1) else tuple(scale.tolist()),
        offset=() if np.all(offset == 0) else tuple(offset.tolist()),
        low=tuple(low.tolist()),
        high=tuple(high.tolist()),
        distribution="Gaussian mean",
    )
