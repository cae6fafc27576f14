"""A job goes on past an export that its board refuses, and ends with a failed gate that says why."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pilotfish.errors import GateFailed, Unreachable
from pilotfish.job import load_job, run_job
from pilotfish.policy.bundle import Policy
from pilotfish.policy.contract import Action, Contract, Observation
from pilotfish.policy.golden import Golden
from pilotfish.policy.guard_table import read_guard
from pilotfish.policy.layers import Linear
from pilotfish.policy.reference import Reference

JOB = """
name = "tiny"
policy = "tiny.policy"
output = "{output}"
{exports}
[bench]
control_hz = 90000
calls = 100
paced_seconds = 0.01
"""
HOST = '[[export]]\ntarget = "host-cpu"\nbackend = "onnxruntime"\n'
BOARD = '[[export]]\ntarget = "nucleo-g0b1re"\n'


@pytest.fixture
def job(tmp_path: Path):
    for package in ("onnx", "onnxruntime", "ziglang", "unicorn", "capstone", "elftools"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    rng = np.random.default_rng(0)
    weights = {"a.weight": rng.normal(size=(3, 5)).astype(np.float32), "a.bias": rng.normal(size=3).astype(np.float32)}
    policy = Policy("tiny", Contract(Observation(5), Action("continuous", 3)), (Linear("a", 5, 3),), weights)
    obs, reference = rng.normal(size=(8, 5)).astype(np.float32), Reference(policy)
    action = np.stack([reference.act(row) for row in obs])
    golden = Golden(obs, action, np.zeros((8, 0), np.float32), np.arange(8) == 0, "random observations")
    policy.replace(golden=golden).save(tmp_path / "tiny.policy")

    def load(exports: str):
        (tmp_path / "job.toml").write_text(JOB.format(output=tmp_path / "run", exports=exports))
        return load_job(tmp_path / "job.toml")

    return load


def test_the_other_artifacts_are_made_and_the_refusal_is_a_failed_gate(job) -> None:
    result = run_job(job(HOST + BOARD), progress=False)
    assert [artifact.manifest.target.name for artifact in result.artifacts] == ["host-cpu"]
    assert len(result.failed_gates) == 1 and "too slow for nucleo-g0b1re" in result.failed_gates[0] and not result.refused
    assert result.report.is_file()


def test_a_guard_is_a_setting_of_the_export(job, tmp_path: Path) -> None:
    (tmp_path / "guard.toml").write_text("[action]\nlow = -0.5\nhigh = 0.5\n")
    first = run_job(job(HOST + 'guard = "guard.toml"\n'), progress=False)
    (artifact,) = first.artifacts
    assert read_guard(artifact.path).high == (0.5,) * 3
    (tmp_path / "guard.toml").write_text("[action]\nlow = -0.25\nhigh = 0.25\n")  # another guard, another artifact
    (again,) = run_job(job(HOST + 'guard = "guard.toml"\n'), progress=False).artifacts
    assert read_guard(again.path).high == (0.25,) * 3 and again.digest != artifact.digest


def test_a_job_of_nothing_but_refusals_fails_with_the_reasons(job) -> None:
    with pytest.raises(GateFailed, match="too slow for nucleo-g0b1re"):
        run_job(job(BOARD), progress=False)


def test_an_artifact_that_cannot_run_here_is_built_and_named_and_the_others_are_proven(job, tmp_path: Path) -> None:
    import onnxruntime
    from typer.testing import CliRunner

    from pilotfish.cli import app

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("a GPU build of ONNX Runtime is here")
    result = run_job(job('[[export]]\ntarget = "host-cuda"\n' + HOST), progress=False)
    assert [artifact.manifest.target.name for artifact in result.artifacts] == ["host-cuda", "host-cpu"]
    assert result.artifacts[1].result("verify")["passed"] and result.artifacts[0].result("verify") is None
    assert len(result.unproven) == 1 and "CUDAExecutionProvider" in result.unproven[0] and result.report.is_file()
    done = CliRunner().invoke(app, ["run", str(tmp_path / "job.toml"), "--json"])
    assert isinstance(done.exception, Unreachable) and done.exception.exit_code == 3
