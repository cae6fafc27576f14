"""PPO: it learns, it treats a time limit as no end, and its settings are checked."""

from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("mujoco", reason="mujoco is not installed")

import gymnasium

from pilotfish.errors import BadInput, Unsupported
from pilotfish.policy.layers import Clip
from pilotfish.policy.network import Network
from pilotfish.train import PPOConfig, network_layers, train, train_config
from pilotfish.train.evaluation import ClosedLoop
from pilotfish.train.minibatches import Columns, Rows
from pilotfish.train.off_actor import PlainActor
from pilotfish.train.ppo import PPO
from pilotfish.train.rollout import Rollout
from pilotfish.train.sequence import Sequence, recurrent_columns
from pilotfish.train.worlds.vector import vector_env


class _HiddenVelocity(gymnasium.ObservationWrapper):
    def __init__(self) -> None:
        super().__init__(gymnasium.make("InvertedPendulum-v5"))
        self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float64)

    def observation(self, observation: np.ndarray) -> np.ndarray:
        return observation[:2]


gymnasium.register("pilotfish-tests/HiddenVelocity-v0", entry_point=_HiddenVelocity)


def _mean_return(policy, env: str, episodes: int) -> float:
    loop = ClosedLoop(env, list(range(500, 500 + episodes)))
    try:
        return float(loop.returns(policy).mean())
    finally:
        loop.close()


def test_balances_the_inverted_pendulum(tmp_path: Path, long_golden_rollouts: None) -> None:
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


def _learner(**settings) -> PPO:
    config = PPOConfig(**{"env": "InvertedPendulum-v5", "n_envs": 2, "rollout_steps": 4, "minibatch_size": 8} | settings)
    return PPO(config, vector_env(config.env, config.n_envs, 0), torch.device("cpu"))


def _rollout(learner: PPO) -> Rollout:
    return learner.collector.collect(learner.actor, learner.head, learner.noise)


@torch.no_grad()
def test_what_lies_behind_a_time_limit_counts_and_what_lies_behind_an_end_does_not() -> None:
    for settings in ({}, {"recurrent": "gru", "recurrent_size": 4}):
        learner = _learner(**settings)
        rollout = _rollout(learner)
        rollout.terminated[:], rollout.truncated[:] = False, False
        rollout.terminated[1, 0], rollout.truncated[2, 1] = True, True
        rollout.started[2, 0], rollout.started[3, 1] = 1, 1
        rollout.last[2, 1] = 0.3
        learner.judgement = learner.critic.initial_state(2)
        value, following = learner._values(rollout)
        assert following[1, 0] == 0
        assert following[0, 0] == pytest.approx(float(value[1, 0]), abs=1e-6)
        state = learner.critic.initial_state(2)
        for t in range(3):
            _, state = learner.critic.step(rollout.seen[t], state)
        aside = learner.critic.step(rollout.last[2], state)[0][1, 0]
        assert following[2, 1] == pytest.approx(float(aside), abs=1e-6)
        assert following[2, 1] != pytest.approx(float(value[3, 1]), abs=1e-6)


@pytest.mark.parametrize(
    "settings",
    [
        {"env": "HalfCheetah-v5", "entropy": 0.01},
        {"env": "HalfCheetah-v5", "layer_norm": True, "activation": "elu"},
        {"env": "InvertedPendulum-v5", "critic": "simba", "critic_hidden": (8, 8)},
        {"env": "CartPole-v1", "entropy": 0.01},
        {"env": "InvertedPendulum-v5", "recurrent": "gru"},
        {"env": "CartPole-v1", "recurrent": "lstm", "hidden": (8,)},
        {"env": "pilotfish/Quadrotor-v0", "asymmetric_critic": True},
        {"env": "pilotfish/Quadrotor-v0", "asymmetric_critic": True, "recurrent": "cfc", "recurrent_size": 5},
    ],
    ids=str,
)
def test_the_gradients_are_those_of_the_textbook_loss(settings: dict) -> None:
    learner = _learner(**{"hidden": (6,), "n_envs": 4, "rollout_steps": 16, "minibatch_size": 32} | settings)
    config = learner.config
    with torch.no_grad():
        for flat in learner.optimizer.flats:  # a policy that has moved away from the one that acted: some ratios are clipped
            flat.value.add_(0.2 * torch.randn(flat.value.shape, generator=torch.Generator().manual_seed(3)))
        rollout = _rollout(learner)
        rollout.log_prob.add_(torch.randn(16, 4, generator=torch.Generator().manual_seed(4)), alpha=0.3)
        advantage, target = (torch.randn(16, 4, generator=torch.Generator().manual_seed(seed)) for seed in (5, 6))
        judgement = learner.critic.initial_state(4)
        recurrent = config.recurrent != "none"
        table = Columns(rollout, advantage, target, judgement) if recurrent else Rows(rollout, advantage, target)
        batch = next(iter(table.minibatches(32, np.random.default_rng(0))))
        learner.optimizer.step = lambda rate: None  # keep the gradients
        learner._step(batch, 0.0)
    gradients = [flat.gradient.clone() for flat in learner.optimizer.flats]

    values = [flat.value.clone().requires_grad_() for flat in learner.optimizer.flats]
    y = _through_torch(learner.actor, values[0], learner.layers, batch.obs, batch.memory, batch.started)
    if config.critic == "simba":
        shapes = [part.shape for part in learner.critic.flat.values]
        parts = [p.view(shape) for p, shape in zip(values[1].split([s.numel() for s in shapes]), shapes, strict=True)]
        module = learner.critic.inner.network
        tensors = dict(zip([name for name, _ in module.named_parameters()], parts, strict=True))
        v = torch.func.functional_call(module, tensors, (batch.seen,))[0, :, 0]
    else:
        critic = learner.critic.network.layers if isinstance(learner.critic, Sequence) else None
        layers = critic or network_layers(batch.seen.shape[-1], config.critic_hidden, "tanh", False, 1)
        v = _through_torch(learner.critic, values[1], layers, batch.seen, batch.judgement, batch.started)[:, 0]
    if learner.discrete:
        distribution = torch.distributions.Categorical(logits=y)
        log_prob, entropy = distribution.log_prob(batch.action[:, 0]), distribution.entropy().mean()
    else:
        distribution = torch.distributions.Normal(y, values[2].exp())
        log_prob, entropy = distribution.log_prob(batch.action).sum(-1), distribution.entropy().sum(-1).mean()
    ratio = (log_prob - batch.log_prob).exp()
    assert ((ratio - 1).abs() > config.clip).any() and ((ratio - 1).abs() < config.clip).any()
    scaled = (batch.advantage - batch.advantage.mean()) / (batch.advantage.std() + 1e-8)
    surrogate = torch.min(scaled * ratio, scaled * ratio.clamp(1 - config.clip, 1 + config.clip))
    value_loss = 0.5 * (v - batch.target).square().mean()
    loss = -surrogate.mean() + config.value_weight * value_loss - config.entropy * entropy
    expected = torch.autograd.grad(loss, values)
    for ours, theirs in zip(gradients, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-3, atol=1e-5)


def _through_torch(net, value: torch.Tensor, layers, x: torch.Tensor, state, started: torch.Tensor) -> torch.Tensor:
    """y of the same layers with parameters cut from ``value``, by torch.func, through time where there is a memory."""
    network = Network(layers)
    shapes = [part.shape for part in net.flat.values]
    parts = [part.view(shape) for part, shape in zip(value.split([s.numel() for s in shapes]), shapes, strict=True)]
    if isinstance(getattr(net, "inner", None), PlainActor):
        parts = [tensor for part in parts for tensor in (part[0, :-1].T, part[0, -1])]
    tensors = dict(zip([name for name, _ in network.named_parameters()], parts, strict=True))
    if x.dim() == 2:
        return torch.func.functional_call(network, tensors, (x, ()))[0]
    rows = []
    for now, going in zip(x, 1 - started[..., None], strict=True):
        y, state = torch.func.functional_call(network, tensors, (now, tuple(tensor * going for tensor in state)))
        rows.append(y)
    return torch.cat(rows)


@pytest.mark.parametrize("cell", ["gru", "lstm", "cfc"])
def test_recurrent_matrices_stay_sparse_or_of_low_rank(cell: str) -> None:
    for settings in ({"recurrent_sparsity": 0.75}, {"recurrent_rank": 3}):
        learner = _learner(recurrent=cell, recurrent_size=16, hidden=(), rollout_steps=8, minibatch_size=8, **settings)
        before = learner.actor.weights()
        for _ in range(2):
            learner.iterate()
        after = learner.actor.weights()
        for name, first in recurrent_columns(learner.layers).items():
            old, new = before[name][:, first:], after[name][:, first:]
            assert not np.array_equal(old, new)
            if "recurrent_rank" in settings:
                assert np.linalg.matrix_rank(new, tol=1e-5) == 3
            else:
                assert np.mean(new == 0) == 0.75
                np.testing.assert_array_equal(new == 0, old == 0)


def test_an_asymmetric_critic_needs_a_true_state() -> None:
    with pytest.raises(Unsupported, match=r"true state"):
        _learner(asymmetric_critic=True)


def test_a_memory_solves_what_no_glimpse_can(tmp_path: Path) -> None:
    """The pendulum's velocities are hidden: its angle and place alone do not balance it."""
    returns = {}
    for recurrent in ("none", "gru"):
        config = PPOConfig(
            env="pilotfish-tests/HiddenVelocity-v0", steps=12_288, gamma=0.98, learning_rate=3e-3, hidden=(16,), epochs=6,
            recurrent=recurrent,
            recurrent_size=16, n_envs=32, rollout_steps=32, minibatch_size=256, eval_every=12_288,
        )  # fmt: skip
        policy = train(config, tmp_path / recurrent, device="cpu", progress=False)
        returns[recurrent] = _mean_return(policy, config.env, 5)
    assert policy.contract.state[0].size == 16
    assert returns["gru"] > 2 * returns["none"], returns


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
        ({"env": "CartPole-v1", "recurrent_rank": 4}, "need recurrent"),
        ({"env": "CartPole-v1", "critic": "simba", "critic_hidden": [8, 16]}, "one equal width per block"),
        ({"env": "CartPole-v1", "critic": "simba", "recurrent": "gru"}, "has no memory"),
        ({"env": "CartPole-v1", "recurrent": "gru", "recurrent_rank": 40}, "above recurrent_size"),
        ({"env": "CartPole-v1", "recurrent": "gru", "recurrent_rank": 4, "recurrent_sparsity": 0.5}, "not both"),
    ],
)
def test_bad_settings_are_refused_in_words(settings: dict, says: str) -> None:
    with pytest.raises(BadInput, match="train") as caught:
        train_config(settings)
    assert says in str(caught.value)


@pytest.mark.parametrize(("activation", "low", "high"), [("relu6", 0, 6), ("hardtanh", -1, 1)])
def test_known_ranges_are_clips(activation: str, low: float, high: float) -> None:
    learner = _learner(hidden=(6, 6), activation=activation)
    assert [layer for layer in learner.layers if isinstance(layer, Clip)] == [Clip(low, high)] * 2
    learner.iterate()
    reference = {"relu6": torch.nn.ReLU6(), "hardtanh": torch.nn.Hardtanh()}[activation]
    x, weights = 5 * torch.randn(3, 4), {name: torch.from_numpy(tensor) for name, tensor in learner.actor.weights().items()}
    expected = x
    for index in range(2):
        expected = reference(expected @ weights[f"hidden{index}.weight"].T + weights[f"hidden{index}.bias"])
    expected = expected @ weights["out.weight"].T + weights["out.bias"]
    torch.testing.assert_close(learner.actor.step(x, ())[0], expected)


def test_settings_need_no_torch() -> None:
    import subprocess
    import sys

    code = "import sys; import pilotfish.train as t; t.train_config({'env': 'x'}); assert 'torch' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60).returncode == 0
