"""fail_on in a job file: the report's gates decide the job's exit code, and everything is written all the same."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from pilotfish.cli import app
from pilotfish.errors import BadInput
from pilotfish.job import load_job, run_job

pytest.importorskip("gymnasium")
JOB = """
name = "pole"
output = "{output}"

[train]
env = "CartPole-v1"
algorithm = "ppo"
steps = 256
n_envs = 4
rollout_steps = 64
minibatch_size = 64
hidden = [8]

[[export]]
target = "host-cpu"
backend = "onnxruntime"

[bench]
calls = 100
paced_seconds = 0.05

[evaluate]
episodes = 1

[report]
fail_on = {gates}
"""


@pytest.fixture
def job(tmp_path: Path):
    for name in ("torch", "onnxruntime", "plotly", "jinja2"):
        pytest.importorskip(name)

    def write(*gates: str) -> Path:
        path = tmp_path / "job.toml"
        path.write_text(JOB.format(output=tmp_path / "run", gates=json.dumps(gates)))
        return path

    return write


def test_a_gate_of_the_report_fails_the_job_and_the_report_is_written(job, tmp_path: Path) -> None:
    path, run = job("faithful", "tight_p50_us<0", "artifact_bytes > 0"), CliRunner().invoke
    for _ in range(2):  # the second run takes the report that is there, and its gates with it
        done = run(app, ["run", str(path), "--json"])
        assert done.exit_code == 1, done.output
        (failed,) = json.loads(done.stdout)["failed_gates"]
        assert failed.startswith("tight_p50_us<0: tight_p50_us is") and str(done.exception) == failed
    made = json.loads((tmp_path / "run/report.json").read_text())
    assert [one["state"] for one in made["gates"]] == ["passed", "failed", "passed"]
    suites = ElementTree.parse(tmp_path / "run/report.junit.xml").getroot()
    assert (suites.get("tests"), suites.get("failures")) == ("3", "1")
    assert "Gates and history" in (tmp_path / "run/report.html").read_text(encoding="utf-8")
    job("faithful", "artifact_bytes > 0")  # a gate less: only the report is made again, and the job passes
    assert run(app, ["run", str(path)]).exit_code == 0
    assert ElementTree.parse(tmp_path / "run/report.junit.xml").getroot().get("failures") == "0"


def test_a_senseless_gate_is_refused_before_anything_is_trained(job, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"\[report\] fail_on.*in_tim"):
        run_job(load_job(job("in_tim")), progress=False)
    assert not (tmp_path / "run").exists()
