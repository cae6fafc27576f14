"""Copies of an environment shared out over processes: the same numbers as in one process, in less time on several cores."""

from __future__ import annotations

import contextlib
import itertools
import json
import mmap
import multiprocessing
import os
import signal
import warnings
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from ..errors import BadInput, PilotfishError
from ..policy.scene import Scene
from .environments import Step, VectorEnv

COPIES_PER_PROCESS = 4
"""With fewer copies to step, a process costs as much time to wake as it saves."""


def processes_for(copies: int, wanted: int = 0) -> int:
    """How many processes step ``copies`` environments; ``wanted`` 0: as many as there are idle cores and enough to do.

    Load counts: a step waits for the slowest process, and on two busy cores two processes measured half as fast as one.
    """
    if not hasattr(os, "fork"):
        return 1
    idle = len(os.sched_getaffinity(0)) - round(os.getloadavg()[0])
    return max(1, min(wanted or min(idle, copies // COPIES_PER_PROCESS), copies))


class SharedEnv(VectorEnv):
    """A :class:`VectorEnv` of which this process keeps the first copies and forked children step the others.

    Children touch no torch. They end when their pipe closes, so also when this process is killed. What a step gives lies in
    shared memory; a byte through a pipe starts it and one says that it is done.
    """

    def __init__(self, env_id: str | Scene, count: int, seed: int, processes: int) -> None:
        cuts = np.linspace(0, count, processes + 1).round().astype(int).tolist()
        super().__init__(env_id, count, seed, range(cuts[0], cuts[1]))
        self._count, self._own, size = count, cuts[1], self.observation_size
        width = 1 if self.discrete else self.action.size
        numbers = count * (2 * size + width + 2)
        self._memory = mmap.mmap(-1, 8 * numbers)  # anonymous and shared with forked children
        flat = np.frombuffer(self._memory, np.float64, numbers)
        parts = np.split(flat, np.cumsum([count * size, count * size, count * width, count]))
        self._seen, self._last, self._actions = (part.reshape(count, -1) for part in parts[:3])
        self._reward, self._ended = parts[3:]
        self._children: list[tuple[Connection, slice, int]] = []
        self._seen[: self._own] = self._obs
        for begin, end in itertools.pairwise(cuts[1:]):
            ours, theirs = multiprocessing.Pipe()
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)  # torch's idle threads: children never call it
                pid = os.fork()
            if pid == 0:
                for other, *_ in self._children:
                    other.close()
                ours.close()
                self._serve(theirs, env_id, count, seed, range(begin, end))
            theirs.close()
            self._children.append((ours, slice(begin, end), pid))
        for child in self._children:
            self._answer(child)

    def __len__(self) -> int:
        return self._count

    @property
    def obs(self) -> np.ndarray:
        """float32 [n, observation size]: what to act on now (a copy)."""
        return self._seen.astype(np.float32)

    def step(self, actions: np.ndarray) -> Step:
        """actions: float [n, action size] in the environment's own units, or int [n] if discrete."""
        self._actions[:] = actions.reshape(self._count, -1)
        for child in self._children:
            self._ask(child, "step")
        parts = [self._write(super().step(actions[: self._own]), 0)]
        parts += [self._answer(child) for child in self._children]
        finished = [episode for part in parts for episode in part]
        over = np.flatnonzero(self._ended)
        last = {int(index): self._last[index].astype(np.float32) for index in over}
        return Step(self.obs, self._reward.copy(), self._ended == 1, self._ended == 2, last, finished)

    def _write(self, step: Step, first: int) -> list[tuple[float, int]]:
        """Put what a step of the copies from ``first`` on gave where everybody sees it -> the episodes that ended."""
        rows = slice(first, first + len(step.reward))
        self._seen[rows], self._reward[rows] = step.obs, step.reward
        self._ended[rows] = step.terminated + 2.0 * step.truncated
        for index, obs in step.last.items():
            self._last[first + index] = obs
        return step.finished

    def restart(self, indices: np.ndarray) -> None:
        """Abandon the episodes of these copies, int [k], and start new ones."""
        super().restart(indices[indices < self._own])
        self._seen[: self._own] = self._obs
        for child in self._children:
            rows = child[1]
            self._ask(child, "restart", (indices[(indices >= rows.start) & (indices < rows.stop)] - rows.start).tolist())
            self._answer(child)

    def state(self) -> dict[str, Any]:
        """As of one process: a run may go on with another number of them."""
        states = [super().state()]
        for child in self._children:
            self._ask(child, "state")
            states.append(self._answer(child))
        return {
            "streams": "[" + ", ".join(state["streams"][1:-1] for state in states) + "]",
            "journals": [journal for state in states for journal in state["journals"]],
            "obs": np.concatenate([state["obs"] for state in states]),
        }

    def restore(self, state: dict[str, Any]) -> bool:
        """Bring every copy to where :meth:`state` left it; False if an environment did not replay bit by bit."""
        streams = json.loads(state["streams"])
        if len(streams) != self._count:
            raise BadInput("checkpoint", expected=f"{self._count} environments", found=f"{len(streams)}")

        def part(rows: slice) -> dict[str, Any]:
            return {"streams": json.dumps(streams[rows]), "journals": state["journals"][rows], "obs": state["obs"][rows]}

        for child in self._children:
            self._ask(child, "restore", part(child[1]))
        exact = super().restore(part(slice(0, self._own)))
        self._seen[: self._own] = self._obs
        return all([exact, *(self._answer(child) for child in self._children)])

    def close(self) -> None:
        """Release the simulators and end the children."""
        for child in self._children:
            connection, _, pid = child
            self._ask(child, "stop")  # closing would not do: other children may have inherited this end
            connection.close()
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, 0)
        self._children = []
        super().close()

    @staticmethod
    def _ask(child: tuple[Connection, slice, int], what: str, about: Any = None) -> None:
        with contextlib.suppress(BrokenPipeError):  # the answer says more
            child[0].send((what, about))

    @staticmethod
    def _answer(child: tuple[Connection, slice, int]) -> Any:
        try:
            answer = child[0].recv()
        except (EOFError, ConnectionResetError) as error:
            raise PilotfishError(f"the process {child[2]} that steps environments ended; train with env_processes = 1") from error
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def _serve(self, connection: Connection, env_id: str | Scene, count: int, seed: int, rows: range) -> None:
        """A child's life."""
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the one who trains
        try:
            envs = VectorEnv(env_id, count, seed, rows)
            part = slice(rows.start, rows.stop)
            self._seen[part] = envs.obs
            connection.send(None)
            while True:
                what, about = connection.recv()
                if what == "stop":
                    break
                try:
                    connection.send(self._do(envs, part, what, about))
                except Exception as error:  # noqa: BLE001 - raised where the training is
                    connection.send(PilotfishError(f"a copy of {envs.env_id} failed: {type(error).__name__}: {error}"))
        except (EOFError, OSError):  # nobody is there any more
            pass
        finally:
            os._exit(0)

    def _do(self, envs: VectorEnv, part: slice, what: str, about: Any) -> Any:
        if what == "step":
            actions = self._actions[part]
            return self._write(envs.step(actions[:, 0].astype(np.int64) if envs.discrete else actions), part.start)
        if what == "restart":
            envs.restart(np.array(about, np.int64))
        answer = envs.state() if what == "state" else envs.restore(about) if what == "restore" else None
        self._seen[part] = envs.obs
        return answer
