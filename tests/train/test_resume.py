"""Resuming: N steps, an interrupt, and N more steps end with the very bits of 2N steps."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("mujoco", reason="mujoco is not installed")

from pilotfish.errors import BadInput, MissingTool
from pilotfish.policy import Policy
from pilotfish.train import PPOConfig, SACConfig, TD3Config, train
from pilotfish.train.checkpoint import checkpoint_path, load_checkpoint, save_checkpoint
from pilotfish.train.ppo import PPO
from pilotfish.train.sac import SAC
from pilotfish.train.td3 import TD3

CONFIGS = {
    "ppo": PPOConfig(env="HalfCheetah-v5", steps=1536, n_envs=4, rollout_steps=64, minibatch_size=64, epochs=2, hidden=(8,)),
    "choices": PPOConfig(env="CartPole-v1", steps=1536, n_envs=4, rollout_steps=64, minibatch_size=64, epochs=2, hidden=(8,)),
    "sac": SACConfig(
        env="InvertedPendulum-v5", steps=480, learning_starts=100, batch_size=32, critic_hidden=(16,), hidden=(8,), n_envs=2,
        normalize_observation=True, updates_per_step=0.5,
    ),
    "td3": TD3Config(
        env="InvertedPendulum-v5", steps=480, learning_starts=100, batch_size=32, critic_hidden=(16,), hidden=(8,),
        updates_per_step=0.7, layer_norm=True,
    ),
}  # fmt: skip


@pytest.mark.parametrize("which", CONFIGS)
def test_a_resumed_run_equals_a_straight_one_bit_by_bit(which: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = CONFIGS[which]
    straight = train(config, tmp_path / "straight", device="cpu", progress=False)

    kind = {"sac": SAC, "td3": TD3}.get(which, PPO)
    whole = kind.iterate

    def interrupted(self):
        result = whole(self)
        if self.steps == config.steps // 2:
            os.kill(os.getpid(), signal.SIGINT)  # what Ctrl-C sends
        return result

    monkeypatch.setattr(kind, "iterate", interrupted)
    with pytest.raises(KeyboardInterrupt, match=f"stopped after {config.steps // 2} steps"):
        train(config, tmp_path / "resumed", device="cpu", progress=False)
    monkeypatch.setattr(kind, "iterate", whole)
    torch.manual_seed(99)  # nothing may hang on the global streams
    np.random.seed(99)
    resumed = train(config, tmp_path / "resumed", device="cpu", progress=False)
    _same(straight, resumed)
    assert resumed.contract.provenance.notes == ()


def _same(a: Policy, b: Policy) -> None:
    for name in a.weights:
        np.testing.assert_array_equal(a.weights[name], b.weights[name])
    assert a.contract == b.contract
    assert a.digest == b.digest


def test_a_finished_run_is_not_trained_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = CONFIGS["choices"]
    first = train(config, tmp_path, device="cpu", progress=False)
    monkeypatch.setattr(PPO, "iterate", lambda self: pytest.fail("it trained again"))
    _same(first, train(config, tmp_path, device="cpu", progress=False))


def test_other_settings_keep_their_own_checkpoint(tmp_path: Path) -> None:
    other = PPOConfig(env="CartPole-v1", steps=256, n_envs=4, rollout_steps=64, minibatch_size=64, seed=5)
    train(CONFIGS["choices"], tmp_path, device="cpu", progress=False)
    train(other, tmp_path, device="cpu", progress=False)
    assert len(list(tmp_path.glob("checkpoint-*.pt"))) == 2


def test_a_checkpoint_holds_plain_data_and_gives_it_back(tmp_path: Path) -> None:
    path = checkpoint_path(tmp_path, "a" * 64)
    state = {
        "big": 2**127 + 1,
        "array": np.arange(6, dtype=np.float64).reshape(2, 3),
        "list": [1, 2.5, "x", None, (np.float32(3), torch.ones(2))],
        "random": np.random.default_rng(0).bit_generator.state,
    }
    save_checkpoint(path, "a" * 64, state)
    back = load_checkpoint(path, "a" * 64)
    assert back is not None
    np.testing.assert_array_equal(back["array"], state["array"])
    assert back["array"].dtype == np.float64 and back["big"] == state["big"] and back["random"] == state["random"]
    assert back["list"][:4] == [1, 2.5, "x", None] and back["list"][4][0] == 3.0
    assert load_checkpoint(tmp_path / "none.pt", "a") is None


@pytest.mark.parametrize("damage", ["truncated", "text", "empty", "flipped"])
def test_a_damaged_checkpoint_is_refused_with_the_repair(damage: str, tmp_path: Path) -> None:
    path = checkpoint_path(tmp_path, "b" * 64)
    save_checkpoint(path, "b" * 64, {"x": torch.ones(1000)})
    raw = bytearray(path.read_bytes())
    raw[raw.find(b"\x00\x00\x80\x3f" * 9) + 2] ^= 1 if damage == "flipped" else 0
    path.write_bytes({"truncated": raw[: len(raw) // 2], "text": b"hello", "empty": b"", "flipped": bytes(raw)}[damage])
    with pytest.raises(BadInput, match=r"Delete .* to train afresh"):
        load_checkpoint(path, "b" * 64)


def test_a_checkpoint_that_would_run_code_does_not(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "boom"),)

    torch.save({"format": 1, "settings": "c", "state": Bomb()}, tmp_path / "x.pt")
    with pytest.raises(BadInput, match="unreadable"):
        load_checkpoint(tmp_path / "x.pt", "c")
    assert not (tmp_path / "boom").exists()


def test_a_checkpoint_of_other_settings_is_refused(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "x.pt", "d", {})
    with pytest.raises(BadInput, match="of these settings"):
        load_checkpoint(tmp_path / "x.pt", "e")


def test_a_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("mine")
    with pytest.raises(BadInput, match="a folder for the run"):
        train(CONFIGS["choices"], tmp_path / "run", device="cpu", progress=False)
    assert (tmp_path / "run").read_text() == "mine"


@pytest.mark.skipif(torch.cuda.is_available(), reason="a CUDA device is here")
def test_cuda_that_is_not_there_is_a_missing_tool(tmp_path: Path) -> None:
    with pytest.raises(MissingTool, match="--device cpu"):
        train(CONFIGS["choices"], tmp_path, device="cuda", progress=False)
    with pytest.raises(BadInput, match="auto, cpu, cuda"):
        train(CONFIGS["choices"], tmp_path, device="gpu", progress=False)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("which", CONFIGS)
def test_trains_on_cuda(which: str, tmp_path: Path) -> None:
    policy = train(CONFIGS[which], tmp_path, device="cuda", progress=False)
    assert all(np.isfinite(tensor).all() for tensor in policy.weights.values())
