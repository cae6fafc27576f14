"""SAC: its targets and log-probabilities against the formulas, and that it learns."""

from pathlib import Path

import pytest
import torch

pytest.importorskip("mujoco", reason="mujoco is not installed")

from pilotfish.errors import Unsupported
from pilotfish.train import SACConfig, train
from pilotfish.train.environments import VectorEnv
from pilotfish.train.sac import SAC


@pytest.fixture
def learner():
    envs = VectorEnv("Reacher-v5", 2, seed=0)
    yield SAC(SACConfig(env="Reacher-v5", n_envs=2, steps=1000, critic_hidden=(16, 16), gamma=0.9), envs, torch.device("cpu"))
    envs.close()


def test_the_log_probability_is_the_squashed_gaussians(learner: SAC) -> None:
    obs = torch.randn(64, 10)
    state = learner.noise.get_state()
    action, log_prob = learner._sample(obs)
    learner.noise.set_state(state)
    noise = torch.randn(64, 2, generator=learner.noise)
    features = learner.body(obs)[0]
    normal = torch.distributions.Normal(learner.mean(features)[0], learner.log_std(features).clamp(-5, 2).exp())
    squashed = torch.distributions.TransformedDistribution(normal, [torch.distributions.TanhTransform(cache_size=1)])
    u = normal.mean + normal.stddev * noise
    torch.testing.assert_close(action, torch.tanh(u))
    torch.testing.assert_close(
        log_prob, squashed.log_prob(torch.tanh(u).clamp(-0.999999, 0.999999)).sum(-1), rtol=1e-3, atol=1e-3
    )


def test_the_target_is_the_soft_bellman_target(learner: SAC) -> None:
    following, reward, going = torch.randn(8, 10), torch.randn(8), torch.tensor([1.0, 0.0] * 4)
    state = learner.noise.get_state()
    target = learner.target(following, reward, going)
    learner.noise.set_state(state)
    action, log_prob = learner._sample(following)
    x = torch.cat([following, action], -1)
    values = []
    for critic in range(2):
        h = x
        for index, (weight, bias) in enumerate(zip(learner.targets.weights, learner.targets.biases, strict=True)):
            h = h @ weight[critic] + bias[critic]
            h = torch.relu(h) if index < 2 else h
        values.append(h[:, 0])
    alpha = learner.log_alpha.exp()
    expected = reward + 0.9 * going * (torch.minimum(*values) - alpha * log_prob)
    torch.testing.assert_close(target, expected.detach(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(target[1::2], reward[1::2])


def test_an_update_lowers_the_critics_error_and_moves_the_targets_by_tau(learner: SAC) -> None:
    obs, following, action = torch.randn(32, 10), torch.randn(32, 10), torch.rand(32, 2) * 2 - 1
    reward, going = torch.randn(32), torch.zeros(32)
    before = [p.clone() for p in learner.targets.parameters()]
    first = learner._update(obs, following, action, reward, going)[0]
    for old, target, critic in zip(before, learner.targets.parameters(), learner.critics.parameters(), strict=True):
        torch.testing.assert_close(target, old + 0.005 * (critic - old))
    for _ in range(200):
        last = learner._update(obs, following, action, reward, going)[0]
    assert last < 0.2 * first


def test_swings_the_pendulum_up(tmp_path: Path) -> None:
    config = SACConfig(
        env="Pendulum-v1", steps=3_000, hidden=(32, 32), critic_hidden=(64, 64), batch_size=64, learning_starts=500, n_envs=4,
        gamma=0.95, learning_rate=3e-3, eval_every=750,
    )  # fmt: skip
    policy = train(config, tmp_path, device="cpu", progress=False)
    from pilotfish.train.evaluation import ClosedLoop

    loop = ClosedLoop(config.env, list(range(700, 710)))
    assert loop.returns(policy).mean() > -400  # a random policy stays near -1200
    loop.close()
    assert policy.contract.action.squash == "tanh" and policy.contract.action.scale == (2.0,)


def test_choices_are_refused_in_words(tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="bounded continuous action"):
        train(SACConfig(env="CartPole-v1"), tmp_path, device="cpu", progress=False)
