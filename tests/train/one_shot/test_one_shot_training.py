"""One training, many policies: resumed exactly, saved, read again, and able to fly."""

import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("gymnasium", reason="gymnasium is not installed")

from pilotfish.errors import BadInput
from pilotfish.policy import Policy
from pilotfish.train import PPOConfig, train
from pilotfish.train.evaluation import ClosedLoop
from pilotfish.train.one_shot import led
from pilotfish.train.one_shot.family import Family, Member
from pilotfish.train.one_shot.led import Led
from pilotfish.train.one_shot.population import Population, Shares
from pilotfish.train.one_shot.trained import PATTERN, SETTINGS, WEIGHTS, Trained
from pilotfish.train.rollout import Rollout

FAMILY = {"depth": (1, 2), "widths": (2, 8), "embedding": 8}


def _config(leader: bool, env: str = "Pendulum-v1", **changes) -> PPOConfig:
    settings = {"steps": 1536, "n_envs": 4, "rollout_steps": 64, "minibatch_size": 64, "epochs": 2, "hidden": (8,)} | changes
    return PPOConfig(env=env, one_shot=Family(leader=leader, **FAMILY), eval_episodes=1, **settings)


@pytest.mark.parametrize("leader", [True, False])
def test_a_resumed_training_leaves_the_same_family(leader: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(led, "LESSONS", (2, 4))
    config, kind = _config(leader), Led if leader else Population
    train(config, tmp_path / "straight", device="cpu", progress=False)
    whole = kind.iterate

    def interrupted(self):
        result = whole(self)
        if self.steps == 1024:
            os.kill(os.getpid(), signal.SIGINT)
        return result

    monkeypatch.setattr(kind, "iterate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(config, tmp_path / "resumed", device="cpu", progress=False)
    assert not (tmp_path / "resumed" / "family").exists()
    monkeypatch.setattr(kind, "iterate", whole)
    train(config, tmp_path / "resumed", device="cpu", progress=False)
    straight, resumed = (Trained.load(tmp_path / name / "family") for name in ("straight", "resumed"))
    for member in straight.family.members:
        a, b = straight.policy(member), resumed.policy(member)
        assert a.digest == b.digest


def test_architectures_learn_from_their_leader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(led, "LESSONS", (16, 100))
    config = _config(True, "CartPole-v1", steps=10_240, n_envs=8, rollout_steps=128, minibatch_size=128, epochs=8, hidden=(16,))
    leader = train(config, tmp_path, device="cpu", progress=False)
    trained = Trained.load(tmp_path / "family")
    loop = ClosedLoop("CartPole-v1", [1, 2, 3, 4, 5])
    best = loop.returns(leader).mean()
    kept = [loop.returns(trained.policy(member)).mean() / best for member in trained.family.members]
    loop.close()
    assert best > 100 and np.median(kept) > 0.6


def test_a_family_is_read_as_it_was_written_and_not_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(led, "LESSONS", (1, 1))
    train(_config(True, steps=512), tmp_path, device="cpu", progress=False)
    folder = tmp_path / "family"
    trained = Trained.load(folder)
    policy = trained.policy(Member((2, 8)))
    assert isinstance(policy, Policy) and policy.parameters == Member((2, 8)).weights((3, 1))
    with pytest.raises(BadInput, match="widths"):
        trained.policy(Member((3,)))
    data = bytearray((folder / WEIGHTS).read_bytes())
    data[-1] ^= 1
    (folder / WEIGHTS).write_bytes(data)
    with pytest.raises(BadInput, match="not the file"):
        Trained.load(folder)
    (folder / SETTINGS).write_text("[]")
    with pytest.raises(BadInput):
        Trained.load(folder)
    assert (folder / PATTERN).is_dir()


def test_minibatches_have_equal_shares_of_all_environments_and_whole_rows() -> None:
    steps, n = 12, 3
    mark = (torch.arange(steps)[:, None] * 10 + torch.arange(n)).float()
    flags = torch.zeros(steps, n, dtype=torch.bool)
    rollout = Rollout(mark[..., None], mark[..., None] + 0.5, mark[..., None], mark, mark.double(), flags, flags, mark, mark, ())
    seen = []
    for batch in Shares(rollout, mark, mark).minibatches(6, np.random.default_rng(0)):
        owners = batch.obs[:, 0] % 10
        assert owners.tolist() == [0, 0, 1, 1, 2, 2]
        assert torch.equal(batch.obs, batch.action) and torch.equal(batch.obs[:, 0], batch.advantage)
        assert torch.equal(batch.seen, batch.obs + 0.5)
        seen += batch.obs[:, 0].tolist()
    assert sorted(seen) == sorted(mark.flatten().tolist())
