"""Stable-Baselines3's convolutional policies act as NatureCNN does, and on the environment's own images."""

from __future__ import annotations

import pickle
from pathlib import Path

import gymnasium
import numpy as np
import pytest

torch = pytest.importorskip("torch")
from sb3_files import sb3_zip, serialized  # noqa: E402

from pilotfish.errors import BadInput, Unsupported  # noqa: E402
from pilotfish.policy import Policy  # noqa: E402
from pilotfish.policy.adopt import adopt  # noqa: E402
from pilotfish.policy.conv import Conv2d  # noqa: E402
from pilotfish.policy.environment import make_env  # noqa: E402
from pilotfish.policy.reference import Reference  # noqa: E402

nn = torch.nn
SHAPE = (3, 40, 36)
SPACE = gymnasium.spaces.Box(0, 255, SHAPE, np.uint8)
PPO = ("stable_baselines3.common.policies", "ActorCriticCnnPolicy")
DQN = ("stable_baselines3.dqn.policies", "CnnPolicy")


def nature(seed: int = 0) -> tuple[nn.Sequential, nn.Sequential]:
    """(cnn, linear) as stable_baselines3.common.torch_layers.NatureCNN builds them, with fewer features."""
    torch.manual_seed(seed)
    cnn = nn.Sequential(
        nn.Conv2d(3, 8, 8, 4), nn.ReLU(), nn.Conv2d(8, 6, 4, 2), nn.ReLU(), nn.Conv2d(6, 5, 2, 1), nn.ReLU(), nn.Flatten()
    )  # fmt: skip
    with torch.no_grad():
        features = cnn(torch.zeros(1, *SHAPE)).shape[1]
    return cnn, nn.Sequential(nn.Linear(features, 12), nn.ReLU())


def tensors_of(prefix: str, cnn: nn.Sequential, linear: nn.Sequential) -> dict[str, torch.Tensor]:
    return {f"{prefix}.cnn.{name}": tensor for name, tensor in cnn.state_dict().items()} | {
        f"{prefix}.linear.{name}": tensor for name, tensor in linear.state_dict().items()
    }


def images(count: int = 4) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, *SHAPE)).astype(np.float32)


def ppo(path: Path, **fields) -> tuple[Path, nn.Module]:
    cnn, linear = nature()
    out = nn.Linear(12, 4)
    tensors = {}
    for prefix in ("features_extractor", "pi_features_extractor", "vf_features_extractor"):
        tensors |= tensors_of(prefix, cnn, linear)
    tensors |= {"action_net.weight": out.weight, "action_net.bias": out.bias, "value_net.weight": torch.zeros(1, 12)}
    space = fields.pop("obs", SPACE)
    made = sb3_zip(path, fields.pop("policy", PPO), tensors, space, gymnasium.spaces.Discrete(4), clip_range=0.2, **fields)
    return made, nn.Sequential(cnn, linear, out)


def test_ppo_acts_as_nature_cnn(tmp_path: Path) -> None:
    path, theirs = ppo(tmp_path / "p.zip")
    policy = adopt(path, golden_steps=5)
    assert policy.contract.observation.shape == SHAPE and policy.contract.provenance.algorithm == "PPO"
    assert set(policy.contract.observation.normalizer.variance) == {255.0**2}
    plain = policy.replace(layers=policy.layers)
    for image in images():
        with torch.no_grad():
            wanted = theirs(torch.from_numpy(image)[None] / 255)[0].numpy()
        assert Reference(plain).act(image.reshape(-1))[0] == wanted.argmax()
        np.testing.assert_allclose(logits(policy, image), wanted, atol=1e-5)


def logits(policy: Policy, image: np.ndarray) -> np.ndarray:
    from pilotfish.policy.network import Network
    from pilotfish.policy.torch_policy import Normalize

    x = Normalize(policy.contract.observation)(torch.from_numpy(image.reshape(1, -1)))
    with torch.no_grad():
        return Network(policy.layers, policy.weights)(x)[0][0].numpy()


def test_dqn_takes_the_largest_value_and_may_read_images_as_they_are(tmp_path: Path) -> None:
    cnn, linear = nature()
    out = nn.Linear(12, 5)
    tensors = tensors_of("q_net.features_extractor", cnn, linear) | tensors_of("q_net_target.features_extractor", cnn, linear)
    tensors |= {"q_net.q_net.0.weight": out.weight, "q_net.q_net.0.bias": out.bias}
    kwargs = serialized(pickle.dumps({"normalize_images": False}))
    path = sb3_zip(tmp_path / "d.zip", DQN, tensors, SPACE, gymnasium.spaces.Discrete(5), policy_kwargs=kwargs)
    policy = adopt(path, golden_steps=5)
    assert policy.contract.observation.normalizer is None and policy.contract.provenance.algorithm == "DQN"
    for image in images():
        with torch.no_grad():
            wanted = nn.Sequential(cnn, linear, out)(torch.from_numpy(image)[None])[0].numpy()
        assert Reference(policy).act(image.reshape(-1))[0] == wanted.argmax()


class Camera(gymnasium.Env):
    """Images with the channels last, as Gymnasium has them."""

    observation_space = gymnasium.spaces.Box(0, 255, (40, 36, 3), np.uint8)
    action_space = gymnasium.spaces.Discrete(4)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return self.np_random.integers(0, 256, (40, 36, 3)).astype(np.uint8), {}

    def step(self, action):
        return self.np_random.integers(0, 256, (40, 36, 3)).astype(np.uint8), 0.0, False, True, {}


def test_the_environments_channels_may_come_last(tmp_path: Path) -> None:
    """VecTransposeImage stood between the environment and the policy: here the first convolution reads what it read."""
    path, theirs = ppo(tmp_path / "p.zip")
    gymnasium.register("Camera-v0", entry_point=Camera)
    try:
        policy = adopt(path, env="Camera-v0", golden_steps=5)
        env = make_env("Camera-v0")
    finally:
        gymnasium.registry.pop("Camera-v0")
    assert isinstance(policy.layers[0], Conv2d) and policy.layers[0].reads == "hwc"
    assert policy.contract.observation.shape == (40, 36, 3)
    obs, _ = env.reset(seed=3)
    image = obs.reshape(40, 36, 3).transpose(2, 0, 1).astype(np.float32)
    with torch.no_grad():
        wanted = theirs(torch.from_numpy(image)[None] / 255)[0].numpy()
    assert Reference(policy).act(obs.astype(np.float32))[0] == wanted.argmax()


def test_what_is_not_nature_cnn_is_refused_by_name(tmp_path: Path) -> None:
    for fields, error, said in (
        ({"policy": ("stable_baselines3.sac.policies", "CnnPolicy")}, Unsupported, "sac"),
        ({"obs": gymnasium.spaces.Box(0, 255, (40, 36, 3), np.uint8)}, Unsupported, "40 channels"),
        ({"obs": gymnasium.spaces.Box(0, 255, (3, 60, 36), np.uint8)}, BadInput, "features"),
        ({"obs": gymnasium.spaces.Box(0, 255, (3, 8, 8), np.uint8)}, BadInput, "a kernel of 4"),
    ):
        with pytest.raises(error, match=said):
            adopt(ppo(tmp_path / "p.zip", **fields)[0])
