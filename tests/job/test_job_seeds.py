"""A job of several seeds goes on with the best of its trainings, and does not train them again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pilotfish.errors import BadInput
from pilotfish.job import load_job, run_job
from pilotfish.job.cache import Silent

JOB = """
name = "pole"
output = "{output}"
seeds = 2

[train]
env = "CartPole-v1"
steps = 512
n_envs = 4
rollout_steps = 64
minibatch_size = 64
hidden = [8]

[[export]]
target = "host-cpu"
backend = "onnxruntime"

[bench]
calls = 200
paced_seconds = 0.05

[evaluate]
episodes = 2
video = true
"""


def test_the_best_of_several_trainings_is_exported(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    path = tmp_path / "job.toml"
    path.write_text(JOB.format(output=tmp_path / "run"))
    lines: list[str] = []

    class Told(Silent):
        def said(self, step: str, line: str) -> None:
            lines.append(line)

    result = run_job(load_job(path), listener=Told(), progress=False)
    filmed = (result.artifacts[0].path / "results" / "film.webp").exists()
    assert filmed != any(line.startswith("no film: ") for line in lines)
    told = json.loads((tmp_path / "run" / "train" / "seeds.json").read_text())
    assert [run["seed"] for run in told["runs"]] == [0, 1]
    assert result.original.contract.provenance.seed == told["best_seed"]
    assert "best of 2 trainings" in result.original.contract.provenance.notes[-1]
    kept: list[str] = []

    class Listener(Silent):
        def finished(self, step: str, seconds: float, cached: bool, summary: str) -> None:
            kept.extend([step] if cached else [])

    run_job(load_job(path), listener=Listener(), progress=False)
    assert "train" in kept


def test_seeds_without_a_training_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "job.toml"
    path.write_text('name = "x"\nseeds = 2\npolicy = "p.policy"\n[[export]]\ntarget = "host-cpu"\n')
    with pytest.raises(BadInput, match="nothing to train"):
        load_job(path)
