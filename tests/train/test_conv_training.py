"""Policies that see images, from the environment to the artifact: trained, distilled, and built."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("gymnasium")
pytest.importorskip("torch")

import gymnasium as gym

from pilotfish.compress import Context, parse_recipe
from pilotfish.compress.explain import variants
from pilotfish.compress.recipe import compress
from pilotfish.errors import BadInput
from pilotfish.policy.conv import Conv2d
from pilotfish.policy.environment import make_env
from pilotfish.policy.image import image_of, shape_of
from pilotfish.policy.layers import Linear
from pilotfish.policy.reference import Reference
from pilotfish.runtime.reference_returns import reference_returns
from pilotfish.targets import load_target
from pilotfish.train.config import SACConfig, train_config
from pilotfish.train.run import train

SHAPES = {"hwc": (6, 5, 2), "chw": (2, 6, 5), "gray": (6, 5)}


class Spot(gym.Env):
    """A bright square of 2 x 2 in the upper or lower half: say in which. Noise of single pixels makes it an image."""

    def __init__(self, order: str = "hwc", dtype: str = "uint8", bound: float = 255.0) -> None:
        self.order, self.bound = order, bound
        self.observation_space = gym.spaces.Box(0, bound, SHAPES[order], np.dtype(dtype))
        self.action_space = gym.spaces.Discrete(2)

    def _look(self) -> np.ndarray:
        image = np.zeros((6, 5, 2))
        image[..., 0] = self.np_random.random((6, 5)) < 0.1
        self.half = int(self.np_random.integers(2))
        y, x = 3 * self.half + int(self.np_random.integers(2)), int(self.np_random.integers(4))
        image[y : y + 2, x : x + 2, 1] = 1
        image *= self.bound if np.isfinite(self.bound) else 1.0
        if self.order == "gray":
            image = image[..., 1]
        return (image.transpose(2, 0, 1) if self.order == "chw" else image).astype(self.observation_space.dtype)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = 10
        return self._look(), {}

    def step(self, action):
        reward = float(action == self.half)
        self.left -= 1
        return self._look(), reward, self.left == 0, False, {}


@pytest.fixture(autouse=True)
def spots():
    for order in SHAPES:
        gym.register(f"Spot-{order}-v0", entry_point=Spot, kwargs={"order": order})
    gym.register("Spot-free-v0", entry_point=Spot, kwargs={"dtype": "float32", "bound": np.inf})
    yield
    for name in (*SHAPES, "free"):
        gym.registry.pop(f"Spot-{name}-v0")


def settings(order: str, **more) -> dict:
    return {
        "env": f"Spot-{order}-v0", "steps": 6144, "n_envs": 16, "rollout_steps": 64, "epochs": 6, "learning_rate": 3e-3,
        "conv": [[6, 3, 1]], "hidden": [16], "critic_hidden": [16], "activation": "relu", "env_processes": 1, "gamma": 0.0,
    } | more  # fmt: skip


@pytest.mark.parametrize("order", SHAPES)
def test_ppo_learns_from_pixels(order: str, tmp_path: Path) -> None:
    policy = train(train_config(settings(order)), tmp_path, device="cpu", progress=False)
    contract = policy.contract
    first = policy.layers[0]
    assert isinstance(first, Conv2d) and first.in_size == contract.observation.size
    assert (first.height, first.width, first.in_channels) == (6, 5, 1 if order == "gray" else 2)
    assert first.reads == ("chw" if order == "chw" else "hwc")
    assert contract.observation.shape == SHAPES[order]
    assert set(contract.observation.normalizer.variance) == {255.0**2}
    assert np.mean(reference_returns(policy, f"Spot-{order}-v0", list(range(100, 110)))[0]) > 8.5  # of 10; chance is 5
    if order == "hwc":
        _goes_on(policy, tmp_path)


def _goes_on(policy, tmp_path: Path) -> None:
    """Decomposed and healed, distilled, and built: the same policy all along."""
    pytest.importorskip("onnx")
    heal = {"pass": "heal", "steps": 600, "iterations": 2, "epochs": 4, "episodes": 2, "n_envs": 8}
    context = Context(policy, policy.contract.provenance.env)
    recipe = parse_recipe([{"pass": "tucker", "keep": 0.5, "criterion": "outputs"}, heal])
    smaller = compress(policy, recipe, env=context.env, device="cpu", progress=False)
    assert smaller.parameters < 0.7 * policy.parameters
    student = parse_recipe(
        [{"pass": "distill", "conv": [[3, 3, 2]], "hidden": [8], "steps": 1500, "iterations": 3, "epochs": 10, "n_envs": 8}]
    )
    taught = compress(policy, student, env=context.env, device="cpu", progress=False)
    assert [type(layer) for layer in taught.layers if hasattr(layer, "name")] == [Conv2d, Linear, Linear]
    for made in (smaller, taught):
        assert np.mean(reference_returns(made, context.env, list(range(100, 110)))[0]) > 7.5
    names = [variant.name for variant in variants(policy, load_target("host-cpu"), 1000)]
    assert {"Tucker", "CP"} <= set(names)
    import onnxruntime as ort

    from pilotfish.export.onnx import to_onnx

    session = ort.InferenceSession(to_onnx(policy).SerializeToString(), providers=["CPUExecutionProvider"])
    reference = Reference(policy)
    for obs in policy.golden.obs[:20]:
        assert session.run(None, {"obs": obs[None]})[0][0, 0] == reference.act(obs)[0]


def test_a_history_of_vectors_is_convolved_in_time(tmp_path: Path) -> None:
    config = train_config(
        {
            "env": "Pendulum-v1", "steps": 256, "n_envs": 4, "rollout_steps": 32, "minibatch_size": 64, "history": 6,
            "conv": [[8, 3, 1], [4, 2, 2]], "hidden": [8], "env_processes": 1, "eval_episodes": 1,
        }
    )  # fmt: skip
    policy = train(config, tmp_path, device="cpu", progress=False)
    first, second = (layer for layer in policy.layers if isinstance(layer, Conv2d))
    assert (first.height, first.width, first.in_channels, first.kernel) == (1, 6, 4, (1, 3))
    assert (second.width, second.kernel, second.stride, second.out_size) == (4, (1, 2), (1, 2), 8)
    assert policy.contract.observation.shape == () and policy.contract.observation.normalizer is not None


def test_what_is_no_image_is_refused(tmp_path: Path) -> None:
    def refused(words: str, **more) -> None:
        with pytest.raises(BadInput, match=words):
            train(train_config(settings("hwc", **more)), tmp_path, device="cpu", progress=False)

    refused("vectors of 3 numbers", env="Pendulum-v1")
    refused("a kernel of 7", conv=[[4, 7, 1]])
    refused("history of 3 images", history=3)
    refused("without such bounds", env="Spot-free-v0")
    refused("conv needs", recurrent="gru")
    with pytest.raises(BadInput, match="conv"):
        train_config({"algorithm": "sac", "env": "Pendulum-v1", "conv": [[4, 3, 1]]})
    assert not hasattr(SACConfig, "conv")


def test_which_axis_holds_the_channels() -> None:
    for order, image in (("hwc", (6, 5, 2, "hwc")), ("chw", (6, 5, 2, "chw")), ("gray", (6, 5, 1, "hwc"))):
        env = make_env(f"Spot-{order}-v0")
        found = image_of(env)
        assert (found.height, found.width, found.channels, found.reads) == image
        assert shape_of(env) == SHAPES[order] and env.observation_space.shape == (found.size,)
    assert image_of(make_env("Pendulum-v1")) is None and shape_of(make_env("Pendulum-v1")) == ()


def test_settings_without_convolutions_keep_their_digest() -> None:
    plain = train_config({"env": "Pendulum-v1"})
    assert "conv" in {field.name for field in dataclasses.fields(plain)}
    assert plain.digest == dataclasses.replace(plain, conv=()).digest != dataclasses.replace(plain, conv=((4, 3, 1),)).digest
