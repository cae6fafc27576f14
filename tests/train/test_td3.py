"""TD3: its target actions, its delayed actor with autograd's gradient, and that it learns."""

from pathlib import Path

import pytest
import torch

pytest.importorskip("mujoco", reason="mujoco is not installed")

from pilotfish.policy.network import Network
from pilotfish.train import TD3Config, train
from pilotfish.train.environments import VectorEnv
from pilotfish.train.td3 import TD3


@pytest.fixture
def learner():
    config = TD3Config(env="Reacher-v5", steps=1000, critic_hidden=(16, 16), gamma=0.9, batch_size=32, policy_delay=3)
    envs = VectorEnv("Reacher-v5", 1, seed=0)
    made = TD3(config, envs, torch.device("cpu"))
    for flat in (made.actor.flat, made.target_actor.flat):
        flat.value += 0.2 * torch.randn(flat.value.shape, generator=torch.Generator().manual_seed(1))
    yield made
    envs.close()


def rows(learner: TD3) -> torch.Tensor:
    batch = torch.randn(32, 2 * learner.sizes[0] + learner.sizes[1] + 2, generator=torch.Generator().manual_seed(3))
    batch[:, -1] = 1.0
    return batch


def test_the_smoothing_noise_is_clipped_and_actions_stay_in_range(learner: TD3) -> None:
    obs = torch.randn(4000, learner.sizes[0])
    clean = torch.tanh(learner.target_actor.forward(obs).clone())
    noisy = learner.target_action(obs)
    assert noisy.abs().max() <= 1
    moved = (noisy - clean)[clean.abs() < 0.5]
    assert moved.abs().max() <= 0.5 + 1e-6
    assert 0.17 < moved.std() < 0.21  # 0.2, less what the clip takes


def test_the_critics_see_the_smaller_target(learner: TD3) -> None:
    batch = rows(learner)
    state = learner.noise.get_state()
    following = learner.following_of(batch)
    value = learner.critics.targets.forward(learner.target_action(following), following).clone()
    q = learner.critics.stack.forward(learner.action_of(batch), learner.obs_of(batch)).clone()
    expected = (q[..., 0] - (batch[:, -2] + 0.9 * torch.minimum(value[0], value[1])[:, 0])).square().mean(1).sum()
    learner.noise.set_state(state)
    torch.testing.assert_close(learner.update(batch, log=True)["loss/critic"], expected, rtol=1e-5, atol=1e-5)


def test_the_actor_and_all_targets_move_every_third_update(learner: TD3) -> None:
    batch = rows(learner)
    watched = [learner.actor.flat.value, learner.critics.targets.flat.value, learner.target_actor.flat.value]
    for update in range(1, 7):
        before = [value.clone() for value in watched]
        learner.update(batch, log=False)
        for old, new in zip(before, watched, strict=True):
            assert torch.equal(old, new) == (update % 3 != 0)


def test_the_actors_gradient_is_autograds(learner: TD3) -> None:
    batch = rows(learner)
    for _ in range(2):
        learner.update(batch, log=False)
    network = Network(learner.layers, learner.actor.weights())
    learner.update(batch, log=False)
    obs = learner.obs_of(batch)
    x = torch.cat([torch.tanh(network(obs)[0]), obs], 1)
    for index, weight in enumerate(learner.critics.stack.flat.values):
        x = x @ weight[0, :-1] + weight[0, -1]
        x = torch.relu(x) if index < 2 else x
    (-x.mean()).backward()
    for name, gradient in zip(learner.actor.names, learner.actor.flat.gradients, strict=True):
        torch.testing.assert_close(gradient[0, :-1].T, network.tensor(f"{name}.weight").grad, rtol=1e-4, atol=1e-6)
        torch.testing.assert_close(gradient[0, -1], network.tensor(f"{name}.bias").grad, rtol=1e-4, atol=1e-6)


def test_swings_the_pendulum_up(tmp_path: Path) -> None:
    config = TD3Config(
        env="Pendulum-v1", steps=4_000, hidden=(32, 32), activation="tanh", critic_hidden=(64, 64), batch_size=64,
        gamma=0.95, learning_rate=2e-3, tau=0.03, exploration_noise=0.3, eval_every=1_000,
    )  # fmt: skip
    policy = train(config, tmp_path, device="cpu", progress=False)
    from pilotfish.train.evaluation import ClosedLoop

    loop = ClosedLoop(config.env, list(range(700, 710)))
    assert loop.returns(policy).mean() > -400  # a random policy stays near -1200
    loop.close()
    assert policy.contract.provenance.algorithm == "TD3" and policy.contract.action.squash == "tanh"
