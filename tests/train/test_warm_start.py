"""Trainings that begin from a policy."""

from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("gymnasium", reason="gymnasium is not installed")

from pilotfish.errors import BadInput
from pilotfish.train import PPOConfig, train
from pilotfish.train.config import train_config
from pilotfish.train.environments import VectorEnv
from pilotfish.train.ppo import PPO
from pilotfish.train.warm_start import JUDGE_FIRST
from pilotfish.train.worlds.vector import vector_env

BASE = {
    "env": "Pendulum-v1",
    "steps": 4096,
    "n_envs": 4,
    "rollout_steps": 64,
    "minibatch_size": 64,
    "epochs": 2,
    "hidden": (6, 5),
}


def _config(**changes) -> PPOConfig:
    return train_config(BASE | {"algorithm": "ppo", "eval_episodes": 1} | changes)


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("first")
    return train(_config(steps=512), folder / "run", device="cpu", progress=False).save(folder / "first.policy")


def _learner(config: PPOConfig) -> tuple[PPO, VectorEnv]:
    envs = vector_env(config.scene, config.n_envs, config.seed, 1, config.simulator, torch.device("cpu"))
    return PPO(config, envs, torch.device("cpu")), envs


def test_the_actor_begins_as_the_policy_and_stays_it_while_the_critic_learns(first: Path) -> None:
    from pilotfish.policy import Policy

    policy = Policy.load(first)
    learner, envs = _learner(_config(warm_start=str(first), steps=16_384))
    _, before, normalizer, _ = learner.policy_parts()
    critic = learner.critic.flat.value.clone()
    assert all(np.array_equal(before[name], policy.weights[name]) for name in policy.weights)
    assert normalizer.mean == policy.contract.observation.normalizer.mean
    for _ in range(3):
        learner.iterate()
    assert learner.steps <= JUDGE_FIRST * 16_384 < learner.steps + 256
    assert all(np.array_equal(before[name], weights) for name, weights in learner.policy_parts()[1].items())
    assert not torch.equal(critic, learner.critic.flat.value)
    learner.iterate()
    assert not all(np.array_equal(before[name], weights) for name, weights in learner.policy_parts()[1].items())
    envs.close()


def test_another_policy_is_another_training(first: Path, tmp_path: Path) -> None:
    other = train(_config(steps=256, seed=1), tmp_path / "run", device="cpu", progress=False).save(tmp_path / "other.policy")
    digests = {_config().digest, _config(warm_start=str(first)).digest, _config(warm_start=str(other)).digest}
    assert len(digests) == 3


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"hidden": (6,)}, "layers"),
        ({"activation": "relu"}, "layers"),
        ({"normalize_observation": False}, "normalizer"),
        ({"env": "MountainCarContinuous-v0"}, "layers|actions"),
    ],
)
def test_what_does_not_fit_is_refused(first: Path, changes: dict, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        _learner(_config(warm_start=str(first), **changes))


def test_settings_that_it_does_not_know_are_refused(first: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="warm_start"):
        _config(warm_start=str(first), recurrent="gru")
    with pytest.raises(BadInput):
        _config(warm_start=str(tmp_path / "nothing.policy"))
