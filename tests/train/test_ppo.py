"""PPO: it learns, it treats a time limit as no end, and its settings are checked."""

from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("mujoco", reason="mujoco is not installed")

from pilotfish.errors import BadInput
from pilotfish.train import PPOConfig, train, train_config
from pilotfish.train.environments import VectorEnv
from pilotfish.train.evaluation import ClosedLoop
from pilotfish.train.ppo import PPO


def _mean_return(policy, env: str, episodes: int) -> float:
    loop = ClosedLoop(env, list(range(500, 500 + episodes)))
    try:
        return float(loop.returns(policy).mean())
    finally:
        loop.close()


def test_balances_the_inverted_pendulum(tmp_path: Path) -> None:
    config = PPOConfig(env="InvertedPendulum-v5", steps=24_576, gamma=0.98, learning_rate=3e-3, hidden=(8, 8))
    policy = train(config, tmp_path / "run", device="cpu", progress=False)
    assert _mean_return(policy, config.env, 5) >= 950
    assert policy.parameters == 4 * 8 + 8 + 8 * 8 + 8 + 8 + 1
    contract = policy.contract
    assert contract.timing.control_hz == 25
    assert contract.observation.normalizer is not None and contract.observation.normalizer.clip == 10
    assert (contract.action.scale, contract.action.low, contract.action.high) == ((3.0,), (-3.0,), (3.0,))
    assert contract.provenance.algorithm == "PPO" and contract.provenance.env == config.env
    assert {"torch", "gymnasium", "mujoco", "pilotfish"} <= set(contract.provenance.tools)
    assert policy.golden is not None and len(policy.golden) == 1000


def test_learns_choices(tmp_path: Path) -> None:
    config = PPOConfig(env="CartPole-v1", steps=24_576, n_envs=8, rollout_steps=64, minibatch_size=128, gamma=0.98, hidden=(16,))
    policy = train(config, tmp_path, device="cpu", progress=False)
    assert policy.contract.action.kind == "discrete"
    assert _mean_return(policy, config.env, 10) > 300  # a random policy reaches about 22


def test_what_lies_behind_a_time_limit_counts_and_what_lies_behind_an_end_does_not() -> None:
    envs = VectorEnv("InvertedPendulum-v5", 2, seed=0)
    config = PPOConfig(env="InvertedPendulum-v5", n_envs=2, rollout_steps=4, minibatch_size=8, normalize_reward=False, gamma=0.9)
    learner = PPO(config, envs, torch.device("cpu"))
    rollout, _ = learner._collect()
    rollout.terminated[:], rollout.truncated[:] = False, False
    rollout.terminated[1, 0], rollout.truncated[2, 1] = True, True
    last = np.full(4, 0.3, np.float32)
    rollout.cut = {(2, 1): last}
    learner.config = PPOConfig(
        env=config.env, n_envs=2, rollout_steps=4, minibatch_size=8, gae_lambda=0.0, normalize_reward=False, gamma=0.9
    )
    advantage, target, value = learner._targets(rollout)
    assert target[1, 0] == pytest.approx(rollout.reward[1, 0])
    assert target[2, 1] == pytest.approx(rollout.reward[2, 1] + 0.9 * learner._values(last[None])[0])
    assert target[0, 0] == pytest.approx(rollout.reward[0, 0] + 0.9 * value[1, 0])
    np.testing.assert_allclose(advantage, target - value)
    envs.close()


def test_the_log_probability_is_the_gaussians() -> None:
    envs = VectorEnv("HalfCheetah-v5", 2, seed=0)
    learner = PPO(PPOConfig(env="HalfCheetah-v5", n_envs=2, log_std=-0.7), envs, torch.device("cpu"))
    obs, action = torch.randn(5, 17), torch.randn(5, 6)
    normal = torch.distributions.Normal(learner.actor(obs)[0], learner.log_std.exp())
    log_prob, entropy = learner._log_prob(obs, action)
    torch.testing.assert_close(log_prob, normal.log_prob(action).sum(-1))
    torch.testing.assert_close(entropy, normal.entropy().sum(-1).mean())
    envs.close()


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"env": "CartPole-v1", "learning_rat": 1e-3}, "Did you mean 'learning_rate'"),
        ({"env": "CartPole-v1", "algorithm": "ddpg"}, "'ppo' or 'sac' or 'td3'"),
        ({"env": "CartPole-v1", "gamma": 1.5}, "train.gamma: expected Input should be less than or equal to 1"),
        ({"env": "CartPole-v1", "minibatch_size": 4096}, "larger than a rollout"),
        ({}, "the setting 'env'"),
        ({"env": "CartPole-v1", "hidden": [0]}, "greater than 0"),
        ({"env": "CartPole-v1", "log_std": float("nan")}, "finite"),
    ],
)
def test_bad_settings_are_refused_in_words(settings: dict, says: str) -> None:
    with pytest.raises(BadInput, match="train") as caught:
        train_config(settings)
    assert says in str(caught.value)


def test_settings_need_no_torch() -> None:
    import subprocess
    import sys

    code = "import sys; import pilotfish.train as t; t.train_config({'env': 'x'}); assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60).returncode == 0
