"""Delays in a job file: paths are the file's own, and what cannot work is refused before anything is trained."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pilotfish.errors import BadInput, Unsupported
from pilotfish.job import load_job, run_job

pytest.importorskip("gymnasium")
JOB = """
name = "late"
output = "{output}"
[train]
env = "{env}"
{settings}
[[export]]
target = "host-cpu"
[evaluate]
latency = "bench.json"
"""


@pytest.fixture
def job(tmp_path: Path):
    (tmp_path / "bench.json").write_text(json.dumps({"histograms": {"paced": {"edges_us": [5, 15], "counts": [3]}}}))

    def load(env: str, settings: str):
        (tmp_path / "job.toml").write_text(JOB.format(output=tmp_path / "run", env=env, settings=settings))
        return load_job(tmp_path / "job.toml")

    return load


def test_a_latency_lies_beside_the_job_file(job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    loaded = job("Pendulum-v1", 'latency = "bench.json"')
    assert loaded.train["latency"] == loaded.evaluate.latency == str(tmp_path / "bench.json")
    from pilotfish.train.config import train_config

    assert train_config(loaded.train).latency.mean_us == 10


def test_what_the_environment_cannot_do_is_refused_before_the_training(job, tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="actions_per_decision"):
        run_job(job("CartPole-v1", "actions_per_decision = 2"), progress=False)
    with pytest.raises(BadInput, match="control rate"):
        run_job(job("MountainCar-v0", "latency = 100.0"), progress=False)
    assert not list(tmp_path.glob("run/policies/*"))
