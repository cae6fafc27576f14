"""A job that is interrupted at any step goes on without redoing what was finished."""

from __future__ import annotations

from pathlib import Path

import pytest

from pilotfish.job import load_job, run_job
from pilotfish.job.cache import Silent
from pilotfish.runtime.artifact import Artifact

JOB = """
name = "pole"
output = "{output}"

[train]
env = "CartPole-v1"
algorithm = "ppo"
steps = 512
n_envs = 4
rollout_steps = 64
minibatch_size = 64
hidden = [8]

[[compress]]
pass = "prune"
sparsity = 0.2
schedule = "one-shot"

[[export]]
target = "host-cpu"
backend = "onnxruntime"

[bench]
calls = 200
paced_seconds = 0.05

[evaluate]
episodes = 2
"""


class Recorder(Silent):
    """Counts which steps really ran and which were kept."""

    def __init__(self) -> None:
        self.ran: list[str] = []
        self.kept: list[str] = []

    def started(self, step: str) -> None:
        """Nothing to do."""

    def finished(self, step: str, seconds: float, cached: bool, summary: str) -> None:
        (self.kept if cached else self.ran).append(step)


class StopAfterOne(Recorder):
    """Lets one new step finish, and presses Ctrl-C when the next one starts."""

    def started(self, step: str) -> None:
        if self.ran:
            raise KeyboardInterrupt


def test_every_step_runs_exactly_once_over_all_interrupts(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    path = tmp_path / "job.toml"
    path.write_text(JOB.format(output=tmp_path / "run"))
    job = load_job(path)
    ran: list[str] = []
    for _ in range(40):
        listener = StopAfterOne()
        try:
            result = run_job(job, listener=listener, progress=False)
        except KeyboardInterrupt:
            assert listener.kept == ran, "a finished step was not kept"
            ran += listener.ran
            continue
        ran += listener.ran
        break
    assert len(ran) == len(set(ran)), f"a finished step was redone: {ran}"
    assert ran[:2] == ["train", "compress"] and ran[-1] == "report"
    assert len(result.artifacts) == 2 and all(a.result("evaluate") for a in result.artifacts)

    again = Recorder()
    run_job(job, listener=again, progress=False)
    assert again.ran == [] and again.kept == ran


def test_an_interrupt_inside_a_step_leaves_the_earlier_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime")
    path = tmp_path / "job.toml"
    path.write_text(JOB.format(output=tmp_path / "run"))
    result = run_job(load_job(path), progress=False)
    before = {a.path: a.digest for a in result.artifacts}

    def interrupted(*_: object) -> dict[str, object]:
        raise KeyboardInterrupt

    # Another compression makes the small artifact stale; the build of the new one is interrupted half way.
    path.write_text(JOB.format(output=tmp_path / "run").replace("sparsity = 0.2", "sparsity = 0.4"))
    import pilotfish.export.onnxruntime as backend

    with monkeypatch.context() as patch:
        patch.setattr(backend, "build", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run_job(load_job(path), progress=False)
    assert {p: Artifact.load(p).digest for p in before} == before
    listener = Recorder()
    run_job(load_job(path), listener=listener, progress=False)
    assert "train" in listener.kept and "compress" in listener.kept
    assert any(step.startswith("export-pole-small") for step in listener.ran)
    assert not any(step.startswith("export-pole@") for step in listener.ran)


def test_a_changed_setting_reruns_only_what_depends_on_it(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    path = tmp_path / "job.toml"
    path.write_text(JOB.format(output=tmp_path / "run"))
    run_job(load_job(path), progress=False)
    path.write_text(JOB.format(output=tmp_path / "run").replace("episodes = 2", "episodes = 3"))
    listener = Recorder()
    run_job(load_job(path), listener=listener, progress=False)
    assert {step.split("-")[0] for step in listener.ran} == {"evaluate", "report"}


def test_a_damaged_output_is_made_again(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    path = tmp_path / "job.toml"
    path.write_text(JOB.format(output=tmp_path / "run"))
    result = run_job(load_job(path), progress=False)
    (result.artifacts[0].path / "artifact.json").unlink()
    listener = Recorder()
    run_job(load_job(path), listener=listener, progress=False)
    assert [s for s in listener.ran if s.startswith("export")] == ["export-pole@host-cpu.onnxruntime"]
