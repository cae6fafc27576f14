"""Several seeds: each is the training that it would be alone, none is lost to a kill, and the verdict is not flattered."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("gymnasium", reason="gymnasium is not installed")

from pilotfish.errors import BadInput, PilotfishError
from pilotfish.runtime.interquartile import interquartile_mean
from pilotfish.runtime.reference_returns import reference_returns
from pilotfish.train import PPOConfig, train, train_seeds
from pilotfish.train.evaluation import held_out_seeds
from pilotfish.train.one_seed import CHOOSING, JUDGING

SHORT = PPOConfig(env="CartPole-v1", steps=1024, n_envs=4, rollout_steps=64, minibatch_size=64, hidden=(8,), seed=3)
LONG = dataclasses.replace(SHORT, steps=10_000_000, checkpoint_every_s=1e-6)


def test_every_seed_is_the_training_it_would_be_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = train_seeds(SHORT, tmp_path, seeds=2, processes=2, episodes=4, device="cpu", progress=False)
    assert [run.seed for run in result.runs] == [3, 4]
    alone = train(dataclasses.replace(SHORT, seed=4), tmp_path / "alone", device="cpu", progress=False)
    assert result.runs[1].policy.digest == alone.digest

    judging, choosing = (held_out_seeds(3, 4, stream) for stream in (JUDGING, CHOOSING))
    assert not set(judging) & set(choosing)
    assert result.runs[1].mean_return == np.mean(reference_returns(alone, "CartPole-v1", judging)[0])
    assert result.runs[1].choosing_return == np.mean(reference_returns(alone, "CartPole-v1", choosing)[0])
    assert result.best.choosing_return == max(run.choosing_return for run in result.runs)
    returns = np.array([run.mean_return for run in result.runs])
    assert result.iqm.value == interquartile_mean(returns) and result.mean.value == returns.mean()
    assert result.iqm.low is not None and result.iqm.low >= returns.min()
    (note,) = result.best.policy.contract.provenance.notes
    assert "best of 2 trainings (seeds 3 to 4)" in note and f"{result.best.mean_return:.6g}" in note
    assert json.loads((tmp_path / "seeds.json").read_text())["best_seed"] == result.best.seed

    monkeypatch.setattr(subprocess, "Popen", lambda *a, **k: pytest.fail("a finished seed was trained again"))
    again = train_seeds(SHORT, tmp_path, seeds=2, episodes=4, device="cpu", progress=False)
    assert again.summary() == result.summary() and again.best.policy.digest == result.best.policy.digest


def _checkpoints(folder: Path, count: int) -> None:
    until = time.monotonic() + 120
    while len(list(folder.glob("seed-*/checkpoint-*.pt"))) < count:
        assert time.monotonic() < until, "no checkpoints were written"
        time.sleep(0.01)


def _trainings_of(folder: Path) -> list[int]:
    """Processes whose folder of open files lies in ``folder``: trainings that hold their lock there."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if any(str(link.readlink()).startswith(str(folder)) for link in (process / "fd").iterdir()):
                found.append(int(process.name))
        except OSError:
            continue
    return found


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="no /proc: who still trains cannot be seen")
def test_neither_ctrl_c_nor_a_kill_of_the_starter_leaves_a_training_behind(tmp_path: Path) -> None:
    def ctrl_c() -> None:
        _checkpoints(tmp_path, 1)
        os.kill(os.getpid(), signal.SIGINT)

    pressing = threading.Thread(target=ctrl_c)
    pressing.start()
    with pytest.raises(KeyboardInterrupt, match="stopped with 0 of 2 seeds done"):
        train_seeds(LONG, tmp_path, seeds=2, processes=1, device="cpu", progress=False)
    pressing.join()
    assert not _trainings_of(tmp_path)

    other = tmp_path / "killed"
    code = "import sys; from pathlib import Path; from pilotfish.train import train_config, train_seeds\n"
    code += f"train_seeds(train_config({dataclasses.asdict(LONG)!r}), Path(sys.argv[1]), seeds=1, device='cpu', progress=False)"
    starter = subprocess.Popen([sys.executable, "-c", code, str(other)])
    try:
        _checkpoints(other, 1)
        assert _trainings_of(other)
    finally:
        starter.kill()
        starter.wait()
    until = time.monotonic() + 60
    while _trainings_of(other):
        assert time.monotonic() < until, "the training goes on without its starter"
        time.sleep(0.05)


def test_what_goes_wrong_is_said_once_and_in_words(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="nosuch"):
        train_seeds(dataclasses.replace(SHORT, env="nosuch-v1"), tmp_path, seeds=2, device="cpu", progress=False)
    (tmp_path / "seed-3").write_text("a file")
    with pytest.raises(PilotfishError, match=r"seed-3: .*expected a folder for the run, found a file") as caught:
        train_seeds(SHORT, tmp_path, seeds=1, device="cpu", progress=False)
    assert caught.value.exit_code == 2
    for wrong in ({"seeds": 0}, {"episodes": 0}, {"processes": 0}):
        with pytest.raises(BadInput, match=next(iter(wrong))):
            train_seeds(SHORT, tmp_path, device="cpu", progress=False, **wrong)
