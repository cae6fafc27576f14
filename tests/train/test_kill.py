"""Kill -9 loses time, never the result: a training that was killed and resumed ends with the bits of one that was not."""

from __future__ import annotations

import dataclasses
import multiprocessing
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("mujoco", reason="mujoco is not installed")

from pilotfish.errors import BadInput
from pilotfish.policy import Policy
from pilotfish.train import PPOConfig, SACConfig, TD3Config, train
from pilotfish.train.checkpoint import checkpoint_path, load_checkpoint
from pilotfish.train.solitude import alone

OFTEN = 1e-6
"""Seconds between checkpoints: one after every iteration."""
CONFIGS = {
    "ppo": PPOConfig(
        env="Hopper-v5", steps=2560, n_envs=4, rollout_steps=32, minibatch_size=64, epochs=4, hidden=(8,),
        eval_every=1000, eval_episodes=1, checkpoint_every_s=OFTEN,
    ),
    "processes": PPOConfig(
        env="InvertedPendulum-v5", steps=2560, n_envs=4, rollout_steps=32, minibatch_size=64, epochs=4, hidden=(8,),
        eval_every=100_000, eval_episodes=1, checkpoint_every_s=OFTEN, env_processes=2,
    ),
    "sac": SACConfig(
        env="InvertedPendulum-v5", steps=960, learning_starts=100, batch_size=32, critic_hidden=(16,), hidden=(8,),
        normalize_observation=True, eval_episodes=1, checkpoint_every_s=OFTEN,
    ),
    "td3": TD3Config(
        env="InvertedPendulum-v5", steps=960, learning_starts=100, batch_size=32, critic_hidden=(16,), hidden=(8,),
        eval_episodes=1, checkpoint_every_s=OFTEN,
    ),
    "world": PPOConfig(
        env="pilotfish/Quadrotor-v0", steps=10_240, n_envs=64, rollout_steps=8, minibatch_size=128, epochs=4, hidden=(8,),
        eval_every=100_000, eval_episodes=1, checkpoint_every_s=OFTEN,
    ),
}  # fmt: skip
"""Half a second or more each after the first checkpoint: the kill must find them at work."""

CHILD = """
import os, signal
from pilotfish.train import train
writes = 0
def fsync(handle, real=os.fsync):  # what stands between a written file and its final name
    global writes
    writes += 1
    if writes == die_in_write:
        os.ftruncate(handle, os.fstat(handle).st_size // 2)
        os.kill(os.getpid(), signal.SIGKILL)
    real(handle)
os.fsync = fsync
train(config, folder, device="cpu", progress=False)
"""
FORGE = multiprocessing.get_context("forkserver")
FORGE.set_forkserver_preload(["torch.utils.tensorboard", "pilotfish.train.run"])  # each child is a fork of one fresh process


def _start(config: PPOConfig | SACConfig | TD3Config, folder: Path, die_in_write: int = 0) -> Any:
    told = {"config": config, "folder": folder, "die_in_write": die_in_write}
    child = FORGE.Process(target=exec, args=(CHILD, told))
    child.start()
    return child


def _died_by_itself(child: Any) -> bool:
    child.join()
    return child.exitcode == -signal.SIGKILL


def _killed_at_random(config: PPOConfig | SACConfig | TD3Config, folder: Path, seed: int) -> int:
    """Kill a training by SIGKILL some time after its first checkpoint -> the steps that its checkpoint holds.

    A machine that is quicker than the kill gets another training, and a kill that comes sooner.
    """
    longest = 0.4
    while not _killed(config, folder, random.Random(seed).uniform(0.0, longest)) or _steps(config, folder) == config.steps:
        assert longest > 0.01, "every training ended before it could be killed: give it more steps"
        longest /= 2
        shutil.rmtree(folder)
    return _steps(config, folder)


def _killed(config: PPOConfig | SACConfig | TD3Config, folder: Path, after_s: float) -> bool:
    """Whether a training was still there to be killed so long after its first checkpoint; all that it started has ended."""
    path = checkpoint_path(folder, config.digest)
    child = _start(config, folder)
    try:
        until = time.monotonic() + 120
        while not path.exists() and child.is_alive():
            assert time.monotonic() < until, "no checkpoint was written"
            time.sleep(0.002)
        time.sleep(after_s)
        helpers = _children(child.pid)
    finally:
        child.kill()
        child.join()
    assert child.exitcode in (0, -signal.SIGKILL), "the training failed by itself"
    killed = bool(child.exitcode == -signal.SIGKILL)
    if killed and getattr(config, "env_processes", 0) > 1 and Path("/proc/self").exists():
        assert len(helpers) == config.env_processes - 1 or _steps(config, folder) == config.steps  # it was done with them
    until = time.monotonic() + 30
    while any(_runs(helper) for helper in helpers):
        assert time.monotonic() < until, "processes that step environments outlive their training"
        time.sleep(0.02)
    return killed


def _children(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    return [int(child) for child in listed.read_text().split()] if listed.exists() else []


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _steps(config: PPOConfig | SACConfig | TD3Config, folder: Path) -> int:
    state = load_checkpoint(checkpoint_path(folder, config.digest), config.digest)
    assert state is not None
    return int(state["learner"]["steps"])


def _same(a: Policy, b: Policy) -> None:
    for name in a.weights:
        np.testing.assert_array_equal(a.weights[name], b.weights[name])
    assert a.contract == b.contract


@pytest.fixture(autouse=True)
def _no_golden_rollouts(monkeypatch: pytest.MonkeyPatch) -> None:
    """They follow from the policy, and take longer than the trainings."""
    monkeypatch.setattr("pilotfish.train.run.record_golden", lambda policy, env, *, seed: None)


@pytest.mark.parametrize("which", CONFIGS)
def test_killed_and_resumed_equals_never_killed(which: str, tmp_path: Path) -> None:
    config = CONFIGS[which]
    done = _killed_at_random(config, tmp_path / "killed", seed=len(which))
    assert 0 < done < config.steps, "the kill came too late to prove anything"
    seldom = dataclasses.replace(config, checkpoint_every_s=1e6)  # how many checkpoints there are changes nothing
    resumed, straight = (train(seldom, tmp_path / name, device="cpu", progress=False) for name in ("killed", "straight"))
    _same(straight, resumed)
    assert resumed.contract.provenance.notes == ()


def test_a_kill_in_the_middle_of_a_checkpoint_write_is_harmless(tmp_path: Path) -> None:
    config = dataclasses.replace(CONFIGS["ppo"], steps=1024)
    killed = tmp_path / "killed"
    path = checkpoint_path(killed, config.digest)

    assert _died_by_itself(_start(config, killed, die_in_write=1))
    assert not path.exists(), "a half-written first checkpoint has taken the name of a whole one"
    assert list(killed.glob(".checkpoint-*.pt.*")), "the kill did not hit the write"

    assert _died_by_itself(_start(config, killed, die_in_write=4))
    assert 0 < _steps(config, killed) < config.steps
    assert len(list(killed.glob(".checkpoint-*.pt.*"))) == 1, "leftovers of the first kill were not cleared, or none is there"

    resumed = train(config, killed, device="cpu", progress=False)
    assert not list(killed.glob(".checkpoint-*.pt.*"))
    _same(train(config, tmp_path / "straight", device="cpu", progress=False), resumed)


def test_two_processes_do_not_train_into_the_same_checkpoint(tmp_path: Path) -> None:
    config = CONFIGS["sac"]
    path = checkpoint_path(tmp_path, config.digest)
    held = "import sys, time; from pathlib import Path; from pilotfish.train.solitude import alone\n"
    held += "with alone(Path(sys.argv[1])):\n    print('held', flush=True); time.sleep(120)"
    holder = subprocess.Popen([sys.executable, "-c", held, str(path)], stdout=subprocess.PIPE)
    try:
        assert holder.stdout is not None and holder.stdout.readline() == b"held\n"
        foreign = path.with_name(f".{path.name}.being-written")
        foreign.write_bytes(b"half")
        with pytest.raises(BadInput, match="one that is running"):
            train(config, tmp_path, device="cpu", progress=False)
        assert foreign.exists(), "a file that the other process is writing was removed"
    finally:
        holder.kill()
        holder.wait()
        holder.stdout.close()
    with alone(path):  # the lock went with the process
        assert not foreign.exists()
    assert [file.name for file in tmp_path.iterdir()] == [f".{path.stem}.lock"]
