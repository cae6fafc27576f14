"""Environments shared out over processes give the very numbers of one process, and leave nothing behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("mujoco", reason="mujoco is not installed")

import gymnasium

from pilotfish.errors import PilotfishError
from pilotfish.train.environments import VectorEnv
from pilotfish.train.workers import SharedEnv, processes_for


class _Fragile(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-1, 1, (1,))
    action_space = gymnasium.spaces.Box(-1, 1, (1,))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action):
        if action[0] > 0.5:
            raise ValueError("too much")
        if action[0] < -0.5:
            os._exit(1)
        return np.zeros(1, np.float32), 0.0, False, False, {}


gymnasium.register("pilotfish-tests/Fragile-v0", entry_point=_Fragile)


def _actions(envs: VectorEnv, steps: int) -> list[np.ndarray]:
    random = np.random.default_rng(0)
    n = len(envs)
    return [random.integers(2, size=n) if envs.discrete else random.uniform(-1, 1, (n, envs.action.size)) for _ in range(steps)]


@pytest.mark.parametrize(("env_id", "count", "processes"), [("HalfCheetah-v5", 5, 2), ("CartPole-v1", 7, 3)])
def test_the_numbers_are_those_of_one_process(env_id: str, count: int, processes: int) -> None:
    one, many = VectorEnv(env_id, count, 3), SharedEnv(env_id, count, 3, processes)
    other = SharedEnv(env_id, count, 99, 2)
    try:
        np.testing.assert_array_equal(one.obs, many.obs)
        ends = 0
        for action in _actions(one, 60):
            a, b = one.step(action), many.step(action)
            for field in ("obs", "reward", "terminated", "truncated"):
                np.testing.assert_array_equal(getattr(a, field), getattr(b, field))
            assert a.finished == b.finished and a.last.keys() == b.last.keys()
            assert all(np.array_equal(a.last[index], b.last[index]) for index in a.last)
            ends += len(a.last)
        assert ends or env_id != "CartPole-v1"
        one.restart(np.array([0, count - 1]))
        many.restart(np.array([0, count - 1]))
        np.testing.assert_array_equal(one.obs, many.obs)
        state = many.state()
        assert state["streams"] == one.state()["streams"]
        assert other.restore(state), "a run may go on with another number of processes"
        action = _actions(one, 1)[0]
        np.testing.assert_array_equal(one.step(action).obs, other.step(action).obs)
    finally:
        for envs in (other, many, one):
            envs.close()


def test_a_copy_that_fails_or_dies_is_named_where_the_training_is() -> None:
    envs = SharedEnv("pilotfish-tests/Fragile-v0", 4, 0, 2)
    with pytest.raises(PilotfishError, match="ValueError: too much"):
        envs.step(np.array([[0.0], [0.0], [0.0], [1.0]]))
    with pytest.raises(PilotfishError, match="env_processes = 1"):
        envs.step(np.array([[0.0], [0.0], [0.0], [-1.0]]))
    envs.close()


def test_no_process_outlives_a_killed_training() -> None:
    code = (
        "import sys, time; from pilotfish.train.workers import SharedEnv; envs = SharedEnv('CartPole-v1', 8, 0, 3);"
        "print(*[child[2] for child in envs._children], flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    children = [int(pid) for pid in parent.stdout.readline().split()]
    assert len(children) == 2
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    for pid in children:
        for _ in range(200):
            if not _alive(pid):
                break
            time.sleep(0.05)
        assert not _alive(pid)


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_few_copies_are_not_worth_a_process() -> None:
    assert processes_for(3) == 1
    assert processes_for(16, wanted=2) == 2
    assert processes_for(2, wanted=8) == 2
