"""Copies of an environment: they step like single ones, say which observation was the last, and replay exactly."""

import numpy as np
import pytest

pytest.importorskip("mujoco", reason="mujoco is not installed")

from pilotfish.errors import Unsupported
from pilotfish.train.environments import VectorEnv, action_of


def _actions(envs: VectorEnv, steps: int, seed: int) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    if envs.discrete:
        return [random.integers(0, envs.action.size, len(envs)) for _ in range(steps)]
    return [random.uniform(-1, 1, (len(envs), envs.action.size)) for _ in range(steps)]


@pytest.mark.parametrize("env_id", ["InvertedPendulum-v5", "CartPole-v1", "Reacher-v5"])
def test_steps_like_single_environments(env_id: str) -> None:
    envs = VectorEnv(env_id, 2, seed=3)
    lone = VectorEnv(env_id, 2, seed=3)
    assert not np.array_equal(envs.obs[0], envs.obs[1]), "every copy has its own stream"
    single = lone.envs[1]
    obs, total, episodes = lone.obs[1], 0.0, 0
    for action in _actions(envs, 120, 0):
        np.testing.assert_array_equal(envs.obs[1], obs)
        step = envs.step(action)
        obs, reward, ended, cut, _ = single.step(int(action[1]) if envs.discrete else action[1].astype(np.float32))
        obs, total = np.asarray(obs, np.float32), total + float(reward)
        assert (step.reward[1], step.terminated[1], step.truncated[1]) == (reward, ended, cut and not ended)
        if ended or cut:
            np.testing.assert_array_equal(step.last[1], obs)
            assert any(abs(given - total) < 1e-9 for given, _ in step.finished)
            obs, total, episodes = np.asarray(single.reset()[0], np.float32), 0.0, episodes + 1
        else:
            assert 1 not in step.last
    assert episodes > 0
    envs.close()
    lone.close()


@pytest.mark.parametrize("env_id", ["InvertedPendulum-v5", "CartPole-v1", "HalfCheetah-v5", "Reacher-v5"])
def test_a_restored_state_goes_on_bit_by_bit(env_id: str) -> None:
    envs, other = VectorEnv(env_id, 3, seed=1), VectorEnv(env_id, 3, seed=99)
    for action in _actions(envs, 70, 1):
        envs.step(action)
    state = envs.state()
    for action in _actions(other, 13, 2):
        other.step(action)
    assert other.restore(state)
    for action in _actions(envs, 90, 3):
        a, b = envs.step(action), other.step(action)
        np.testing.assert_array_equal(a.obs, b.obs)
        np.testing.assert_array_equal(a.reward, b.reward)
        assert a.finished == b.finished
    envs.close()
    other.close()


def test_a_replay_that_differs_is_noticed() -> None:
    envs = VectorEnv("CartPole-v1", 1, seed=0)
    envs.step(np.array([1]))
    state = envs.state()
    assert not envs.restore(state | {"obs": state["obs"] + 1})
    envs.close()


def test_a_bounded_box_maps_onto_its_range() -> None:
    import gymnasium

    action = action_of(gymnasium.spaces.Box(np.array([-3.0, 0.0], np.float32), np.array([3.0, 1.0], np.float32)))
    assert (action.scale, action.offset) == ((3.0, 0.5), (0.0, 0.5))
    assert (action.low, action.high) == ((-3.0, 0.0), (3.0, 1.0))
    assert action_of(gymnasium.spaces.Box(-np.inf, np.inf, (2,))).low == ()


def test_an_unsuitable_environment_is_refused_in_words() -> None:
    with pytest.raises(Unsupported, match="Box observation"):
        VectorEnv("FrozenLake-v1", 1, seed=0)
