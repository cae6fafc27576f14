"""Trackers: told everything once, found again by a resumed training, and never a reason for a training to fail."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("gymnasium", reason="gymnasium is not installed")

from pilotfish.errors import BadInput, MissingTool, Unreachable
from pilotfish.train import PPOConfig, train, train_config, train_seeds
from pilotfish.train import trackers as trackers_module
from pilotfish.train.ppo import PPO
from pilotfish.train.trackers import TRACKERS, Facts

CONFIG = PPOConfig(
    env="CartPole-v1", steps=1024, n_envs=4, rollout_steps=64, minibatch_size=64, epochs=2, hidden=(8,), eval_every=512,
    eval_episodes=2,
)  # fmt: skip


@pytest.fixture(autouse=True)
def _no_golden_rollouts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pilotfish.train.run.record_golden", lambda policy, env, *, seed: None)


class Notebook:
    """A tracker that keeps what it is told."""

    pages: list[Notebook] = []  # noqa: RUF012

    def __init__(self, facts: Facts) -> None:
        self.facts, self.run_id, self.errors = facts, facts.known or f"run {len(self.pages)}", (ConnectionError,)
        self.rows: list[tuple[int, dict[str, float]]] = []
        self.ended: bool | None = None
        self.pages.append(self)

    @staticmethod
    def prepare() -> None:
        pass

    def send(self, scalars: dict[str, float], step: int) -> None:
        self.rows.append((step, scalars))

    def end(self, finished: bool) -> None:
        self.ended = finished


@pytest.fixture
def notebook(monkeypatch: pytest.MonkeyPatch) -> type[Notebook]:
    monkeypatch.setitem(TRACKERS, "mlflow", Notebook)
    monkeypatch.setattr(Notebook, "pages", [])
    monkeypatch.setattr(trackers_module, "EVERY_S", 0.0)
    return Notebook


def _interrupted(config: PPOConfig, folder: Path, monkeypatch: pytest.MonkeyPatch, at: int = 512) -> None:
    whole = PPO.iterate

    def pressed(self: PPO) -> Any:
        found = whole(self)
        if self.steps == at:
            os.kill(os.getpid(), signal.SIGINT)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(PPO, "iterate", pressed)
        with pytest.raises(KeyboardInterrupt):
            train(config, folder, device="cpu", progress=False)


def test_a_tracker_hears_everything_and_a_resumed_training_goes_on_with_its_run(
    notebook: type[Notebook], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = dataclasses.replace(CONFIG, tracker="mlflow")
    _interrupted(config, tmp_path / "run", monkeypatch)
    policy = train(config, tmp_path / "run", device="cpu", progress=False)
    first, second = notebook.pages
    assert first.facts.known is None and second.facts.known == first.run_id == second.run_id
    assert (first.ended, second.ended) == (False, True)
    assert first.facts.settings["hidden"] == [8] and first.facts.settings["env"] == "CartPole-v1"
    assert {field.name for field in dataclasses.fields(config)} <= set(first.facts.settings)
    steps = [step for step, _ in first.rows + second.rows]
    assert steps == sorted(steps) and steps[-1] == 1024
    told = {name for _, row in first.rows + second.rows for name in row}
    assert {"evaluation/return", "episode/return", "time/steps_per_second", "final/return"} <= told
    final = second.rows[-1][1]
    evaluations = [row["evaluation/return"] for _, row in first.rows + second.rows if "evaluation/return" in row]
    assert final["final/return"] == max(evaluations)

    train(config, tmp_path / "other", device="cpu", progress=False)
    assert notebook.pages[-1].run_id != first.run_id, "another folder is another run"
    untold = train(CONFIG, tmp_path / "untold", device="cpu", progress=False)
    assert untold.digest == policy.digest and CONFIG.digest == config.digest, "being watched changed the training"


def test_a_tracker_that_breaks_does_not_break_the_training(
    notebook: type[Notebook], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def gone(self: Notebook, *_: Any) -> None:
        calls.append(self)
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr(Notebook, "send", gone)
    monkeypatch.setattr(Notebook, "end", gone)
    train(dataclasses.replace(CONFIG, tracker="mlflow"), tmp_path, device="cpu", progress=False)
    assert len(calls) == 1, "a service that is gone was asked again"


@pytest.mark.parametrize("name", TRACKERS)
def test_an_absent_package_is_named_with_its_repair(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, name, None)
    with pytest.raises(MissingTool, match=rf'pip install "pilotfish\[{name}\]"'):
        train(dataclasses.replace(CONFIG, tracker=name), tmp_path, device="cpu", progress=False)
    with pytest.raises(BadInput, match="tracker"):
        train_config({"env": "CartPole-v1", "tracker": "tensorbored"})


def test_mlflow_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "poles")
    monkeypatch.chdir(tmp_path)
    config = dataclasses.replace(CONFIG, tracker="mlflow")
    _interrupted(config, tmp_path / "run", monkeypatch)
    client = mlflow.MlflowClient(tracking_uri=os.environ["MLFLOW_TRACKING_URI"])

    def runs() -> list[Any]:
        return client.search_runs([client.get_experiment_by_name("poles").experiment_id])

    (run,) = runs()
    assert run.info.status == "KILLED"
    train(config, tmp_path / "run", device="cpu", progress=False)
    (run,) = runs()
    assert run.info.status == "FINISHED" and run.info.run_name == "ppo CartPole-v1 seed 0"
    assert run.data.params["env"] == "CartPole-v1" and run.data.params["hidden"] == "[8]"
    history = client.get_metric_history(run.info.run_id, "evaluation/return")
    assert [point.step for point in history] == [512, 1024]
    assert run.data.metrics["final/return"] == max(point.value for point in history)

    (tmp_path / "run" / next(name.name for name in (tmp_path / "run").glob("tracker-*"))).write_text(
        json.dumps({"run_id": "0" * 32})
    )
    train(config, tmp_path / "run", device="cpu", progress=False)
    assert len(runs()) == 2, "a run that the store does not know was not begun anew"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(Unreachable, match=r"MLflow at http://127\.0\.0\.1:1"):
        train(config, tmp_path / "unreachable", device="cpu", progress=False)


def test_seeds_side_by_side_make_one_mlflow_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mlflow = pytest.importorskip("mlflow", reason="mlflow is not installed")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path / 'mlflow.db'}")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "poles")
    config = dataclasses.replace(CONFIG, tracker="mlflow")
    train_seeds(config, tmp_path / "run", seeds=2, processes=2, episodes=1, device="cpu", progress=False)
    client = mlflow.MlflowClient(tracking_uri=os.environ["MLFLOW_TRACKING_URI"])
    runs = client.search_runs([client.get_experiment_by_name("poles").experiment_id])
    assert sorted(run.info.run_name for run in runs) == ["ppo CartPole-v1 seed 0", "ppo CartPole-v1 seed 1"]
    assert {run.info.status for run in runs} == {"FINISHED"}


def test_weights_and_biases_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("wandb", reason="wandb is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.chdir(tmp_path)
    config = dataclasses.replace(CONFIG, tracker="wandb")
    _interrupted(config, tmp_path / "run", monkeypatch)
    train(config, tmp_path / "run", device="cpu", progress=False)
    stored = sorted((tmp_path / "run" / "wandb").glob("offline-run-*"))
    run_id = json.loads(next((tmp_path / "run").glob("tracker-wandb-*.json")).read_text())["run_id"]
    assert stored and all(folder.name.endswith(run_id) for folder in stored)
    content = b"".join((folder / f"run-{run_id}.wandb").read_bytes() for folder in stored)
    for told in (b"evaluation/return", b"final/return", b"time/steps_per_second", b"CartPole-v1"):
        assert told in content
