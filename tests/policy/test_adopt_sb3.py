"""Stable-Baselines3 zips: every family acts as its own predict does, and returns match the published ones."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from pilotfish.errors import BadInput, Unsupported
from pilotfish.policy.adopt import adopt
from pilotfish.policy.environment import make_env, to_env_action
from pilotfish.policy.reference import Reference

torch = pytest.importorskip("torch")
from sb3_files import global_pickle, sb3_zip, serialized, vecnormalize_pickle  # noqa: E402

nn = torch.nn
Shared = Callable[[str], Path]
OBS = gymnasium.spaces.Box(-np.inf, np.inf, (5,), np.float64)
BOX = gymnasium.spaces.Box(np.array([-2.0, -1.0], np.float32), np.array([2.0, 3.0], np.float32))
PPO = ("stable_baselines3.common.policies", "ActorCriticPolicy")
SAC = ("stable_baselines3.sac.policies", "SACPolicy")


def mlp(prefix: str, sizes: list[int]) -> dict[str, torch.Tensor]:
    """Tensors of an nn.Sequential of linear layers with activations in between."""
    tensors: dict[str, torch.Tensor] = {}
    for index in range(len(sizes) - 1):
        tensors[f"{prefix}.{2 * index}.weight"] = torch.randn(sizes[index + 1], sizes[index]) / 2
        tensors[f"{prefix}.{2 * index}.bias"] = torch.randn(sizes[index + 1])
    return tensors


def head(name: str, out: int, into: int) -> dict[str, torch.Tensor]:
    return {f"{name}.weight": torch.randn(out, into) / 3, f"{name}.bias": torch.randn(out)}


def forward(tensors: dict[str, torch.Tensor], names: list[str], activation: nn.Module, x: np.ndarray) -> np.ndarray:
    """Linear layers by name with an activation between them."""
    value = torch.from_numpy(x).double()
    for index, name in enumerate(names):
        value = nn.functional.linear(value, tensors[f"{name}.weight"].double(), tensors[f"{name}.bias"].double())
        if index < len(names) - 1:
            value = activation(value)
    return value.numpy()


def observations(count: int = 20) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((count, 5)).astype(np.float32)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("shared_layers", [False, True])
def test_on_policy_gaussian_is_clipped_to_its_bounds(shared_layers: bool, tmp_path: Path) -> None:
    tensors = mlp("mlp_extractor.policy_net", [6 if shared_layers else 5, 8, 8]) | head("action_net", 2, 8)
    tensors |= mlp("mlp_extractor.value_net", [5, 8, 8]) | head("value_net", 1, 8) | {"log_std": torch.zeros(2)}
    names = ["mlp_extractor.policy_net.0", "mlp_extractor.policy_net.2", "action_net"]
    if shared_layers:
        tensors |= mlp("mlp_extractor.shared_net", [5, 6])
        names.insert(0, "mlp_extractor.shared_net.0")
    policy = adopt(sb3_zip(tmp_path / "a2c.zip", PPO, tensors, OBS, BOX), golden_steps=5)
    assert policy.contract.provenance.algorithm == "A2C"
    assert (policy.contract.provenance.steps, policy.contract.provenance.seed) == (1234, 5)
    reference = Reference(policy, np.float64)
    for obs in observations():
        wanted = np.clip(forward(tensors, names, nn.Tanh(), obs), BOX.low, BOX.high)
        np.testing.assert_allclose(reference.act(obs), wanted, atol=1e-6)


@pytest.mark.parametrize("gsde", [False, True])
def test_squashed_gaussian_is_rescaled(gsde: bool, tmp_path: Path) -> None:
    mu = "actor.mu.0" if gsde else "actor.mu"
    tensors = mlp("actor.latent_pi", [5, 8, 8]) | head(mu, 2, 8) | head("actor.log_std", 2, 8) | mlp("critic.qf0", [7, 8, 1])
    policy = adopt(sb3_zip(tmp_path / "sac.zip", SAC, tensors, OBS, BOX, policy_kwargs={"use_sde": gsde}), golden_steps=5)
    reference = Reference(policy, np.float64)
    for obs in observations():
        mean = forward(tensors, ["actor.latent_pi.0", "actor.latent_pi.2", mu], nn.ReLU(), obs)
        mean = np.clip(mean, -2, 2) if gsde else mean
        wanted = BOX.low + 0.5 * (np.tanh(mean) + 1) * (BOX.high - BOX.low)
        np.testing.assert_allclose(reference.act(obs), wanted, atol=1e-6)


def test_td3_and_ddpg_end_in_tanh(tmp_path: Path) -> None:
    tensors = mlp("actor.mu", [5, 8, 2]) | mlp("actor_target.mu", [5, 8, 2])
    path = sb3_zip(tmp_path / "td3.zip", ("stable_baselines3.td3.policies", "TD3Policy"), tensors, OBS, BOX, policy_delay=2)
    policy = adopt(path, golden_steps=5)
    assert policy.contract.provenance.algorithm == "TD3"
    for obs in observations():
        wanted = BOX.low + 0.5 * (np.tanh(forward(tensors, ["actor.mu.0", "actor.mu.2"], nn.ReLU(), obs)) + 1) * (
            BOX.high - BOX.low
        )
        np.testing.assert_allclose(Reference(policy, np.float64).act(obs), wanted, atol=1e-6)


def test_dqn_takes_the_largest_value(tmp_path: Path) -> None:
    tensors = mlp("q_net.q_net", [5, 8, 4]) | mlp("q_net_target.q_net", [5, 8, 4])
    path = sb3_zip(
        tmp_path / "dqn.zip", ("stable_baselines3.dqn.policies", "DQNPolicy"), tensors, OBS, gymnasium.spaces.Discrete(4)
    )
    policy = adopt(path, golden_steps=5)
    for obs in observations():
        values = forward(tensors, ["q_net.q_net.0", "q_net.q_net.2"], nn.ReLU(), obs)
        assert Reference(policy).act(obs).tolist() == [int(values.argmax())]


def test_activation_comes_from_policy_kwargs(tmp_path: Path) -> None:
    tensors = mlp("mlp_extractor.policy_net", [5, 8]) | head("action_net", 2, 8)
    kwargs = serialized(pickle.dumps({"activation_fn": nn.ELU, "optimizer_class": torch.optim.RMSprop, "net_arch": [8]}))
    policy = adopt(sb3_zip(tmp_path / "p.zip", PPO, tensors, OBS, BOX, policy_kwargs=kwargs, clip_range=0.2), golden_steps=5)
    assert policy.contract.provenance.algorithm == "PPO"
    obs = observations()[0]
    wanted = forward(tensors, ["mlp_extractor.policy_net.0", "action_net"], nn.ELU(), obs)
    np.testing.assert_allclose(Reference(policy, np.float64).act(obs), np.clip(wanted, BOX.low, BOX.high), atol=1e-6)


def small_ppo(path: Path, **changes: object) -> Path:
    tensors = mlp("mlp_extractor.policy_net", [5, 8]) | head("action_net", 2, 8) | changes.pop("tensors", {})
    return sb3_zip(path, changes.pop("policy", PPO), tensors, changes.pop("obs", OBS), changes.pop("act", BOX), **changes)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"policy": ("stable_baselines3.common.policies", "ActorCriticCnnPolicy")}, "ActorCriticCnnPolicy"),
        ({"policy": ("sb3_contrib.common.recurrent.policies", "RecurrentActorCriticPolicy")}, "Recurrent"),
        ({"policy": ("__main__", "MyPolicy")}, "__main__.MyPolicy"),
        ({"obs": gymnasium.spaces.Discrete(5)}, "Discrete"),
        ({"obs": gymnasium.spaces.Box(0, 255, (8, 8, 3), np.uint8)}, "images"),
        ({"obs": gymnasium.spaces.Dict({"a": OBS})}, "Dict"),
        ({"act": gymnasium.spaces.MultiDiscrete([2, 3])}, "MultiDiscrete"),
        ({"tensors": {"features_extractor.cnn.0.weight": torch.zeros(3, 3)}}, "feature extractor"),
        ({"policy_kwargs": serialized(pickle.dumps({"activation_fn": nn.GELU}))}, "GELU"),
        ({"tensors": {"mlp_extractor.policy_net.1.weight": torch.zeros(8)}}, "in turn"),
        ({"tensors": {"action_net.bias": torch.tensor([0.0, float("nan")])}}, "NaN"),
        ({"tensors": {"action_net.weight": torch.zeros(2, 9)}}, "take 8 inputs"),
        ({"act": gymnasium.spaces.Discrete(3)}, "3 network outputs"),
        ({"observation_space": "Box(5)"}, "space"),
        ({"action_space": {":serialized:": "not base64!"}}, "base64"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_not_adopted_is_refused_by_name(changes: dict, said: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=said):
        adopt(small_ppo(tmp_path / "p.zip", **changes))


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_vecnormalize_of_every_pickle_protocol(protocol: int, tmp_path: Path) -> None:
    mean, var = np.arange(5.0), np.arange(5.0) + 1
    path = vecnormalize_pickle(tmp_path / "v.pkl", mean, var, protocol)
    normalizer = adopt(small_ppo(tmp_path / "p.zip"), normalizer=path, golden_steps=5).contract.observation.normalizer
    assert normalizer is not None
    assert (normalizer.mean, normalizer.variance) == (tuple(mean), tuple(var))
    assert (normalizer.epsilon, normalizer.epsilon_inside_sqrt, normalizer.clip) == (1e-6, True, 7.0)


def test_norm_obs_false_means_no_normalizer(tmp_path: Path) -> None:
    path = vecnormalize_pickle(tmp_path / "v.pkl", np.zeros(5), np.ones(5), norm_obs=False)
    policy = adopt(small_ppo(tmp_path / "p.zip"), normalizer=path, golden_steps=5)
    assert policy.contract.observation.normalizer is None
    assert "norm_obs" in policy.contract.provenance.normalizer_source


@pytest.mark.parametrize(
    ("mean", "var", "said"),
    [(np.zeros(4), np.ones(4), "5 entries"), (np.full(5, np.nan), np.ones(5), "finite"), (np.zeros(5), -np.ones(5), "variance")],
)
def test_a_normalizer_that_does_not_fit_is_refused(mean: np.ndarray, var: np.ndarray, said: str, tmp_path: Path) -> None:
    path = vecnormalize_pickle(tmp_path / "v.pkl", mean, var)
    with pytest.raises(BadInput, match=said):
        adopt(small_ppo(tmp_path / "p.zip"), normalizer=path)


CONFIGS = {
    "pairs": "!!python/object/apply:collections.OrderedDict\n- - - batch_size\n    - 64\n  - - normalize\n    - true\n",
    "mapping": "batch_size: 64\nnormalize: true  # as usual\n",
    "text": "- - - normalize\n    - dict(norm_obs=True, norm_reward=False)\n",
    "nested": "normalize:\n  norm_obs: true\n  norm_reward: false\n",
}


@pytest.mark.parametrize("text", CONFIGS.values(), ids=CONFIGS.keys())
@pytest.mark.parametrize("place", ["p.config.yml", "config.yml", "p/config.yml"])
def test_a_missing_normalizer_is_an_error_and_no_default(text: str, place: str, tmp_path: Path) -> None:
    config = tmp_path / place
    config.parent.mkdir(exist_ok=True)
    config.write_text(text)
    with pytest.raises(BadInput, match=r"normalize: true.*--normalizer"):
        adopt(small_ppo(tmp_path / "p.zip"))
    policy = adopt(tmp_path / "p.zip", normalizer=Path("none"), golden_steps=5)
    assert "the user says" in policy.contract.provenance.normalizer_source


NO_NORMALIZER = {
    "false": "normalize: false\n",
    "absent": "batch_size: 64\nnormalize_advantage: true\n",
    "rewards only": "- - - normalize\n    - 'dict(norm_obs=False, norm_reward=True)'\n",
    "kwargs": "- - - normalize\n    - true\n  - - normalize_kwargs\n    - norm_obs: false\n      norm_reward: true\n",
}


@pytest.mark.parametrize("text", NO_NORMALIZER.values(), ids=NO_NORMALIZER.keys())
def test_a_config_that_asks_for_none_is_believed(text: str, tmp_path: Path) -> None:
    (tmp_path / "config.yml").write_text(text)
    assert adopt(small_ppo(tmp_path / "p.zip"), golden_steps=5).contract.observation.normalizer is None


def test_a_normalizer_that_lies_beside_is_named_in_the_repair(tmp_path: Path) -> None:
    vecnormalize_pickle(tmp_path / "vecnormalize.pkl", np.zeros(5), np.ones(5))
    with pytest.raises(BadInput, match=r"--normalizer \S*vecnormalize\.pkl"):
        adopt(small_ppo(tmp_path / "p.zip"))


def test_shared_config_says_normalize(shared: Shared, tmp_path: Path) -> None:
    for name in ("ppo_HalfCheetah-v3.zip", "ppo_HalfCheetah-v3.config.yml"):
        shutil.copy(shared(f"sb3/{name}"), tmp_path)
    with pytest.raises(BadInput, match="normalize: true"):
        adopt(tmp_path / "ppo_HalfCheetah-v3.zip")


@pytest.mark.parametrize(
    ("name", "env", "low", "high"),
    [
        # Published in Gymnasium v5 with 10 episodes: 500; 3626 ± 7; 5892 ± 22; 9365 ± 97 (mean ± standard deviation).
        ("ppo_CartPole-v1", "CartPole-v1", 500, 500),
        ("trpo_Hopper-v3", "Hopper-v5", 3590, 3660),
        ("ppo_HalfCheetah-v3", "HalfCheetah-v5", 5780, 6000),
        ("sac_HalfCheetah-v3", "HalfCheetah-v5", 8980, 9750),
    ],
)
def test_returns_match_the_published_ones(name: str, env: str, low: float, high: float, shared: Shared) -> None:
    pytest.importorskip("mujoco")
    path = shared(f"sb3/{name}.zip")
    normalizer = path.with_name(f"{name}.vecnormalize.pkl")
    policy = adopt(path, normalizer=normalizer if normalizer.is_file() else None, env=env, golden_steps=20)
    assert policy.contract.provenance.env == env and policy.contract.timing.control_hz
    reference, environment = Reference(policy), make_env(env)
    for seed in range(2):
        obs, _ = environment.reset(seed=seed)
        total, done = 0.0, False
        while not done:
            obs, reward, terminated, truncated, _ = environment.step(
                to_env_action(policy.contract, environment, reference.act(obs))
            )
            total, done = total + float(reward), terminated or truncated
        assert low <= total <= high
    environment.close()


def test_an_environment_of_another_size_is_refused(shared: Shared) -> None:
    with pytest.raises(BadInput, match="size 4"):
        adopt(shared("sb3/ppo_CartPole-v1.zip"), env="Acrobot-v1")


def test_a_truncated_zip_is_refused(shared: Shared, tmp_path: Path) -> None:
    data = shared("sb3/ppo_CartPole-v1.zip").read_bytes()
    for length in (len(data) // 2, len(data) - 30):
        (tmp_path / "cut.zip").write_bytes(data[:length])
        with pytest.raises(BadInput, match="damaged"):
            adopt(tmp_path / "cut.zip")


def test_a_flipped_byte_never_escapes_as_another_error(shared: Shared, tmp_path: Path) -> None:
    data = shared("sb3/ppo_CartPole-v1.zip").read_bytes()
    rng = np.random.default_rng(0)
    for place in rng.integers(0, len(data), 60):
        broken = bytearray(data)
        broken[place] ^= 0xFF
        (tmp_path / "b.zip").write_bytes(broken)
        try:
            adopt(tmp_path / "b.zip", normalizer=Path("none"), golden_steps=1)
        except BadInput as error:
            assert "expected" in str(error)


def test_unsupported_is_bad_input() -> None:
    assert issubclass(Unsupported, BadInput) and global_pickle("a", "b").endswith(b"\x93.")
