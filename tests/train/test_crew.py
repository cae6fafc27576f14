"""The crew: order, exceptions, and that a training does not depend on the number of threads."""

import threading

import pytest
import torch

pytest.importorskip("mujoco", reason="mujoco is not installed")

from pilotfish.train.algorithms import ALGORITHMS
from pilotfish.train.config import SACConfig, TD3Config
from pilotfish.train.crew import Crew
from pilotfish.train.environments import VectorEnv
from pilotfish.train.off_policy import threads_for


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_results_come_in_the_order_of_the_tasks(threads: int, count: int) -> None:
    assert Crew(threads).run([lambda i=i: 10 * i for i in range(count)]) == [10 * i for i in range(count)]


def test_two_threads_are_two() -> None:
    meeting = threading.Barrier(2)
    Crew(2).run([lambda: meeting.wait(10)] * 2)  # a single thread would wait for itself until the barrier breaks


@pytest.mark.parametrize("failing", [0, 1])
def test_an_exception_reaches_the_caller_and_the_crew_goes_on(failing: int) -> None:
    def task(index: int) -> int:
        if index == failing:
            raise ArithmeticError("as it should")
        return index

    with pytest.raises(ArithmeticError, match="as it should"):
        Crew(2).run([lambda: task(0), lambda: task(1)])
    assert Crew(2).run([lambda: 1, lambda: 2]) == [1, 2]


@pytest.mark.parametrize("kind", [SACConfig, TD3Config])
def test_wide_networks_learn_the_same_on_one_thread_and_on_two(kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pilotfish.train.stacked.PIECE", 2**21)
    flats = []
    for threads in (1, 2):
        config = kind(
            env="Pendulum-v1", steps=200, critic_hidden=(128, 128), hidden=(128, 128), batch_size=256, learning_starts=32,
            threads=threads,
        )  # fmt: skip
        learner = ALGORITHMS[config.algorithm](config, VectorEnv(config.env, 1, 0), torch.device("cpu"))
        for _ in range(6):
            learner.iterate()
        assert len(learner.critics.stack.pieces(256)) == 2  # else this would prove nothing
        flats.append([learner.critics.stack.flat.value, learner.critics.targets.flat.value, learner.actor.flat.value])
    assert all(torch.equal(one, two) for one, two in zip(*flats, strict=True))


def test_threads_do_not_shape_a_run_and_follow_the_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1}, raising=False)
    small, wide = (SACConfig(env="Pendulum-v1", critic_hidden=(width, width)) for width in (64, 256))
    assert [threads_for(c, torch.device("cpu")) for c in (small, wide)] == [1, 2]
    assert threads_for(wide, torch.device("cuda")) == 1
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0}, raising=False)
    assert threads_for(wide, torch.device("cpu")) == 1
    assert SACConfig(env="Pendulum-v1", threads=2).digest == SACConfig(env="Pendulum-v1", threads=1).digest
