"""A job watches the teachers that its recipe names, as it watches everything else that it reads."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pilotfish.errors import BadInput
from pilotfish.job import load_job, run_job
from pilotfish.job.cache import Silent
from pilotfish.policy.bundle import Policy
from pilotfish.policy.contract import Action, Contract, Observation, Provenance
from pilotfish.policy.layers import Linear
from pilotfish.policy.record import record_golden

JOB = """
name = "pole"
policy = "one.policy"
output = "{output}"

[[compress]]
pass = "distill"
hidden = [4]
teachers = ["two.policy"]
steps = 200
iterations = 1
epochs = 1
n_envs = 4

[[export]]
target = "host-cpu"
backend = "onnxruntime"

[bench]
calls = 100
paced_seconds = 0.01

[evaluate]
episodes = 1
"""


class Recorder(Silent):
    """Which steps really ran, one list per run."""

    def __init__(self) -> None:
        self.ran: list[str] = []

    def finished(self, step: str, seconds: float, cached: bool, summary: str) -> None:
        self.ran += [] if cached else [step]


def _save(path: Path, gain: float) -> Policy:
    contract = Contract(Observation(4), Action("discrete", 2), provenance=Provenance(env="CartPole-v1"))
    weights = {"out.weight": np.array([[0] * 4, [0.1, 0.4, 4.0, gain]], np.float32), "out.bias": np.zeros(2, np.float32)}
    policy = Policy(path.stem, contract, (Linear("out", 4, 2),), weights)
    policy = policy.replace(golden=record_golden(policy, None, steps=20, seed=0))
    policy.save(path)
    return policy


def test_another_teacher_makes_another_student_and_a_missing_one_stops_the_job_at_once(tmp_path: Path) -> None:
    for package in ("gymnasium", "onnx", "onnxruntime"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    (tmp_path / "job.toml").write_text(JOB.format(output=tmp_path / "run"))
    job, listener = load_job(tmp_path / "job.toml"), Recorder()
    _save(tmp_path / "one.policy", 1.2)
    with pytest.raises(BadInput, match=r"two\.policy.*nothing there"):
        run_job(job, listener=listener, progress=False)
    assert listener.ran == []

    _save(tmp_path / "two.policy", 1.0)
    run_job(job, listener=listener, progress=False)
    assert "compress" in listener.ran
    run_job(job, listener=(again := Recorder()), progress=False)
    assert again.ran == []

    other = _save(tmp_path / "two.policy", 0.8)
    result = run_job(job, listener=(third := Recorder()), progress=False)
    assert "compress" in third.ran and "source" not in third.ran
    assert result.compressed is not None and other.digest in result.compressed.contract.provenance.parents
