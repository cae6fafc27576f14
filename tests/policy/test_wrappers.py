"""Scenes: late observations, several actions per decision, late actions, stacked frames."""

from __future__ import annotations

import gymnasium
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilotfish.errors import BadInput, Unsupported
from pilotfish.policy.contract import Action, Contract, Observation, Timing
from pilotfish.policy.environment import make_env
from pilotfish.policy.latency import Latency
from pilotfish.policy.scene import Scene, plain, scene_of
from pilotfish.policy.wrappers import Decisions, Frames, LateObservations


class Tape(gymnasium.Env):
    """Sees the number of the step, writes down what it was told, ends after ten steps."""

    observation_space = gymnasium.spaces.Box(0, 100, (1,), np.float32)
    action_space = gymnasium.spaces.Box(-2, 2, (2,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.taken: list[float] = []
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.taken.append(float(action[0]))
        now = len(self.taken)
        return np.full(1, now, np.float32), float(now), now == 10, False, {}


def _tape(scene: Scene) -> tuple[gymnasium.Env, Tape]:
    """make_env's own order of wrappers, around a tape whose steps last 1,000 us."""
    tape = env = Tape()
    if scene.observation_delay[1]:
        env = LateObservations(env, *scene.observation_delay)
    env = Decisions(env, scene.actions_per_decision, scene.latency, 1000.0)
    return (Frames(env, scene.history) if scene.history > 1 else env), tape


def test_a_decision_takes_its_actions_in_order_sums_rewards_and_stops_with_the_episode() -> None:
    env, tape = _tape(Scene("tape", actions_per_decision=4))
    assert env.action_space.shape == (8,)
    env.reset(seed=0)
    plan = np.arange(8, dtype=np.float32) / 8  # row-major: entries 0, 2, 4, 6 are the first actuator's
    obs, reward, ended, _, _ = env.step(plan)
    assert tape.taken == [0, 0.25, 0.5, 0.75] and (obs[0], reward, ended) == (4, 1 + 2 + 3 + 4, False)
    env.step(plan)
    obs, reward, ended, _, _ = env.step(plan)
    assert (obs[0], reward, ended) == (10, 9 + 10, True) and len(tape.taken) == 10


@pytest.mark.parametrize("delay", [1, 3])
def test_observations_are_late_by_the_delay_and_the_first_one_stands_until_then(delay: int) -> None:
    env, _ = _tape(Scene("tape", observation_delay=(delay, delay)))
    env.reset(seed=0)
    seen = [env.step(np.zeros(2))[0][0] for _ in range(9)]
    assert seen == [max(0, step - delay) for step in range(1, 10)]


def test_a_delay_is_drawn_for_each_episode_and_follows_from_the_environments_random_stream() -> None:
    env, tape = _tape(Scene("tape", observation_delay=(0, 3)))

    def delay() -> int:
        """Of the episode that has just begun."""
        return 5 - int([env.step(np.zeros(2))[0][0] for _ in range(5)][-1])

    env.reset(seed=1)
    drawn, kept = [], []
    for _ in range(40):
        kept.append(tape.np_random.bit_generator.state)
        env.reset()
        drawn.append(delay())
    assert set(drawn) == {0, 1, 2, 3}
    for state, expected in zip(kept[::7], drawn[::7], strict=True):
        tape.np_random.bit_generator.state = state
        env.reset()
        assert delay() == expected


def test_late_actions_hold_the_one_before_and_the_first_is_never_late() -> None:
    env, tape = _tape(Scene("tape", latency=Latency.fixed(2000)))
    env.reset(seed=0)
    for number in range(1, 9):
        env.step(np.full(2, number / 8))
    assert [round(8 * value) for value in tape.taken] == [1, 1, 1, 2, 3, 4, 5, 6]


def test_late_sequences_begin_when_they_arrive() -> None:
    env, tape = _tape(Scene("tape", actions_per_decision=3, latency=Latency.fixed(1000)))
    env.reset(seed=0)
    for first in (1, 4, 7):
        env.step(np.repeat(np.arange(first, first + 3), 2) / 10)
    assert [round(10 * value) for value in tape.taken] == [1, 2, 3, 3, 4, 5, 6, 7, 8]


@settings(max_examples=20, deadline=None)
@given(late_us=st.floats(0, 3000), seed=st.integers(0, 100))
def test_rounding_to_whole_steps_keeps_the_mean_latency(late_us: float, seed: int) -> None:
    env, tape = _tape(Scene("tape", latency=Latency.fixed(late_us)))
    floor, ages = int(late_us // 1000), []
    for episode in range(60):
        env.reset(seed=seed + 1000 * episode)
        for number in range(9):
            env.step(np.full(2, number / 9))
        ages.append(8 - round(9 * tape.taken[8]))  # how old the action of the ninth step is
    assert set(ages) <= {floor, floor + 1} and abs(np.mean(ages) - late_us / 1000) < 0.33  # five standard errors at most
    if late_us % 1000 == 0:
        assert set(ages) == {floor}


def test_frames_hold_observations_with_the_decisions_before_them_and_begin_equal() -> None:
    env, _ = _tape(Scene("tape", history=3))
    obs, _ = env.reset(seed=0)
    assert env.observation_space.shape == obs.shape == (9,) and not obs.any()
    env.step(np.array([0.5, 0.25]))
    obs = env.step(np.array([5.0, -5.0]))[0]
    assert obs.reshape(3, 3).tolist() == [[0, 0, 0], [1, 0.5, 0.25], [2, 2, -2]]


def test_part_of_a_mujoco_step_holds_the_earlier_action_exactly() -> None:
    pytest.importorskip("mujoco")
    from gymnasium.envs.mujoco.half_cheetah_v5 import HalfCheetahEnv

    frames, late = HalfCheetahEnv().frame_skip, 3
    step_us = 1e6 * HalfCheetahEnv().dt
    env = make_env(Scene("HalfCheetah-v5", latency=Latency.fixed(step_us * late / frames)))
    by_hand = make_env("HalfCheetah-v5")
    env.reset(seed=3)
    by_hand.reset(seed=3)
    world, random, before = by_hand.unwrapped, np.random.default_rng(0), None
    for _ in range(30):
        action = random.uniform(-1, 1, 6).astype(np.float32)
        env.step(action)
        for held, count in ((before, late), (action, frames - late)) if before is not None else ((action, frames),):
            world.do_simulation(held, count)
        before = action
        assert np.array_equal(world.data.qpos, env.unwrapped.data.qpos)
        assert np.array_equal(world.data.qvel, env.unwrapped.data.qvel)


def test_a_late_sequence_in_mujoco_changes_its_action_at_the_substep_of_its_arrival_in_every_step() -> None:
    pytest.importorskip("mujoco")
    env = make_env(Scene("HalfCheetah-v5", 2, latency=Latency.fixed(1e6 * 0.05 * 3 / 5)))
    env.reset(seed=0)
    world, told = env.unwrapped, []
    simulate = world._step_mujoco_simulation
    world._step_mujoco_simulation = lambda ctrl, frames: (told.append((float(ctrl[0]), frames)), simulate(ctrl, frames))
    for first in (0.125, 0.375, 0.625):
        env.step(np.repeat([first, first + 0.125], 6).astype(np.float32))
    held = [(0.125, 5), (0.25, 5), (0.25, 3), (0.375, 2), (0.375, 3), (0.5, 2), (0.5, 3), (0.625, 2), (0.625, 3), (0.75, 2)]
    assert [entry for entry in told if entry[1]] == held


def test_no_latency_is_no_change_even_where_the_physics_is_split() -> None:
    pytest.importorskip("mujoco")
    env, usual = make_env(Scene("Hopper-v5", latency=Latency.fixed(0))), make_env("Hopper-v5")
    assert np.array_equal(env.reset(seed=0)[0], usual.reset(seed=0)[0])
    for _ in range(5):
        action = usual.action_space.sample()
        assert np.array_equal(env.step(action)[0], usual.step(action)[0])


def test_the_contract_says_what_scene_it_is_and_a_plain_one_stays_an_id() -> None:
    late = Latency((0, 10, 20), (1, 3), "a bench")
    contract = Contract(Observation(6, history=2), Action("continuous", 4), timing=Timing(50, 2, (0, 1), late))
    assert scene_of(contract, "X-v0") == Scene("X-v0", 2, 2, (0, 1), late)
    assert scene_of(Contract(Observation(6), Action("continuous", 4)), "X-v0") == plain(Scene("X-v0")) == "X-v0"


@pytest.mark.parametrize(
    "make",
    [
        lambda: Contract(Observation(2), Action("continuous", 3), timing=Timing(actions_per_decision=2)),
        lambda: Contract(Observation(2), Action("discrete", 4), timing=Timing(actions_per_decision=2)),
        lambda: Observation(5, history=2),
        lambda: Timing(observation_delay=(2, 1)),
        lambda: Latency((0, 2, 1), (1, 1)),
        lambda: Latency((0, 1), (0,)),
        lambda: Latency((0, 1), (10**400,)),
        lambda: Latency((0, 1, 2), (1,)),
        lambda: Latency((-1, 1), (1,)),
    ],
)
def test_contracts_that_cannot_be_are_refused(make) -> None:
    with pytest.raises(ValueError):
        make()


def test_what_an_environment_cannot_do_is_said() -> None:
    with pytest.raises(Unsupported, match="several"):
        make_env(Scene("CartPole-v1", actions_per_decision=2))
    with pytest.raises(BadInput, match="control rate"):
        make_env(Scene("MountainCar-v0", latency=Latency.fixed(10)))
