"""What stands between an environment and a policy that is late or decides seldom, as Gymnasium wrappers.

All that they draw at random follows from the environment's own ``np_random`` at the reset, so that restoring that generator and
repeating the decisions repeats the episode (which is how a training is resumed).
"""

from __future__ import annotations

from collections import deque
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium.spaces import Box

from ..errors import BadInput, Unsupported
from .latency import Latency


def _stream(env: gymnasium.Env) -> np.random.Generator:
    """Random numbers for one episode, which take a single draw from the environment's."""
    return np.random.default_rng(int(env.np_random.integers(2**62)))


class LateObservations(gymnasium.Wrapper):
    """Observations arrive ``fewest`` to ``most`` steps late, one delay per episode; until then the first one stands."""

    def __init__(self, env: gymnasium.Env, fewest: int, most: int) -> None:
        super().__init__(env)
        self.fewest, self.most = fewest, most

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        """Begin an episode and draw its delay."""
        obs, info = self.env.reset(**options)
        self._seen = deque([obs], maxlen=int(_stream(self).integers(self.fewest, self.most + 1)) + 1)
        return obs, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """Reward and end are of now, the observation is of then."""
        obs, *rest = self.env.step(action)
        self._seen.append(obs)
        return (self._seen[0], *rest)  # type: ignore[return-value]


class _Plan(NamedTuple):
    """The actions of one decision."""

    arrives: int
    """Substep from which on it is obeyed: an action per step from there, and the last one is held."""
    actions: list[Any]
    """What the environment's step takes, one per tick."""


class Decisions(gymnasium.Wrapper):
    """A step is a decision: ``count`` actions, one per step of the environment, which may all be late by a drawn latency.

    ``steps`` apart: where that is more than ``count``, the last action is held; where it is less, the next decision takes over.

    The action space is a Box of count x m entries, row-major [count, m]. The reward is the plain sum over the steps taken, which
    end with the episode. A discount therefore counts decisions, not steps.

    While a decision is late, the last action of the one before is held; its own actions begin when it arrives. Decisions never
    overtake each other, and an episode begins when its first one is there. With ``drop_late``, one that would arrive after the
    next one is due is never obeyed. Latencies are rounded to whole substeps of a MuJoCo
    environment, else to whole steps, up or down at random such that their mean stays what it was; at most one change of action,
    the latest, happens within a step. Rewards that depend on the action see the newest one of the step.
    """

    def __init__(
        self,
        env: gymnasium.Env,
        count: int,
        latency: Latency | None,
        period_us: float | None,
        steps: int | None = None,
        *,
        drop_late: bool = False,
    ) -> None:
        super().__init__(env)
        space = env.action_space
        self.count, self.latency, self.box = count, latency, isinstance(space, Box)
        self.steps, self.drop_late = steps or count, drop_late
        if count > 1:
            if not isinstance(space, Box):
                raise Unsupported(
                    "actions_per_decision", expected="a continuous action where a decision holds several", found=f"{space}"
                )
            self.action_space = Box(np.tile(space.low, count), np.tile(space.high, count), dtype=space.dtype.type)  # type: ignore[arg-type,union-attr]
        self._substeps, self._hold = 1, 0
        if latency is not None:
            if not period_us:
                raise BadInput(
                    "latency", expected="an environment that states its control rate (dt)", found="one that does not say"
                )
            self._period_us = period_us
            self._substeps = self._listen()

    def _listen(self) -> int:
        """Let MuJoCo's physics hold the earlier action for the first ``_hold`` substeps of a step -> substeps per step."""
        world = self.unwrapped
        simulate, frames = getattr(world, "do_simulation", None), getattr(world, "frame_skip", None)
        if not callable(simulate) or not isinstance(frames, int) or not hasattr(world, "data"):
            return 1

        def in_two_parts(ctrl: np.ndarray, n_frames: int) -> None:
            held, self._hold = min(self._hold, n_frames), 0
            if held:
                simulate(world.data.ctrl.copy(), held)  # type: ignore[attr-defined]
            simulate(ctrl, n_frames - held)

        world.do_simulation = in_two_parts  # type: ignore[attr-defined]
        return frames

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        """Begin an episode: nothing is in force and nothing under way."""
        obs, info = self.env.reset(**options)
        self._random = _stream(self) if self.latency else None
        self._tick, self._hold = 0, 0
        self._now: _Plan | None = None
        self._coming: deque[_Plan] = deque()
        return obs, info

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """One decision; ``info`` is that of its last step."""
        actions = list(np.asarray(action).reshape(self.count, -1)) if self.box else [action]
        arrival = self._arrival()
        if arrival is not None:
            self._coming.append(_Plan(arrival, actions))
        total, ended, cut = 0.0, False, False
        for _ in range(self.steps):
            obs, reward, ended, cut, info = self.env.step(self._take())
            total += float(reward)
            if ended or cut:
                break
        return obs, total, ended, cut, info

    def _arrival(self) -> int | None:
        """Substep at which the decision that is being taken will be there; None: dropped."""
        now = self._tick * self._substeps
        if self.latency is None or self._random is None or (self._now is None and not self._coming):
            return now
        late_us = self.latency.draw_us(self._random)
        if self.drop_late and late_us > self.steps * self._period_us:
            return None
        late = late_us / self._period_us * self._substeps
        whole = int(late)
        whole += int(self._random.random() < late - whole)
        before = self._coming[-1] if self._coming else self._now
        return max(now + whole, before.arrives if before else 0)

    def _take(self) -> Any:
        """The action of this tick, and in ``_hold`` for how many substeps the one before goes on."""
        first = self._tick * self._substeps
        end = first + self._substeps
        while self._coming and self._coming[0].arrives < end:
            self._now = self._coming.popleft()
        assert self._now is not None  # the first decision is never late
        since = end - 1 - self._now.arrives
        self._hold = self._substeps - 1 - since % self._substeps
        self._tick += 1
        return self._now.actions[min(since // self._substeps, len(self._now.actions) - 1)]


class Frames(gymnasium.Wrapper):
    """Observations are the last ``history`` frames, the newest last: each an observation and the decision before it.

    A frame is float32 [n + m]: the observation, then the entries of the decision (an index as one entry), clipped to its space;
    zero before the first one. An episode begins with equal frames.
    """

    def __init__(self, env: gymnasium.Env, history: int) -> None:
        super().__init__(env)
        self.history = history
        self._actions = int(np.prod(env.action_space.shape or (1,)))
        size = int(np.prod(env.observation_space.shape or ())) + self._actions
        self.observation_space = Box(-np.inf, np.inf, (history * size,), np.float32)

    def reset(self, **options: Any) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode."""
        obs, info = self.env.reset(**options)
        self._frames = deque([self._frame(obs, np.zeros(self._actions))] * self.history, maxlen=self.history)
        return np.concatenate(self._frames), info

    def step(self, action: Any) -> tuple[np.ndarray, Any, bool, bool, dict[str, Any]]:
        """One decision."""
        obs, reward, ended, cut, info = self.env.step(action)
        space = self.env.action_space
        taken = np.clip(action, space.low, space.high) if isinstance(space, Box) else np.array([action])
        self._frames.append(self._frame(obs, taken))
        return np.concatenate(self._frames), reward, ended, cut, info

    @staticmethod
    def _frame(obs: Any, action: np.ndarray) -> np.ndarray:
        return np.concatenate([np.asarray(obs, np.float32).reshape(-1), np.asarray(action, np.float32).reshape(-1)])
