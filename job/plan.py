"""The steps of a job, in order: source, compress, then export, verify, bench and evaluate per artifact, report."""

from __future__ import annotations

from ..errors import GateFailed, MissingTool, Unreachable
from ..targets import load_target
from .cache import Listener, Silent
from .making import check_settings, compress_policy, source_policy
from .outcome import JobResult, failed_gates, report_gates
from .proving import bench_artifact, evaluate_artifact, export_artifact, report_artifacts, verify_artifact
from .run import Run
from .schema import Job


def run_job(job: Job, *, listener: Listener | None = None, progress: bool = True) -> JobResult:
    """Run (or resume) a job; see :class:`pilotfish.job.schema.Job`. Gates that fail are listed, not raised."""
    run = Run(job, listener or Silent(), progress)
    # Everything that can be wrong with the later steps is looked at before hours of training begin.
    targets = [(item, load_target(item.target)) for item in job.export]
    check_settings(run, targets)
    original = source_policy(run)
    compressed = compress_policy(run, original) if job.compress else None
    result = JobResult(run.folder, run.folder / job.report.output, original, compressed)
    for policy in filter(None, (original, compressed)):
        for item, target in targets:
            try:
                artifact = export_artifact(run, policy, item, target)
            except GateFailed as refusal:
                last = compressed is None or policy is compressed
                (result.failed_gates if last else result.refused).append(str(refusal))
                run.cache.listener.said("export", str(refusal))
                continue
            result.artifacts.append(artifact)
            try:
                verify_artifact(run, artifact)
                bench_artifact(run, artifact)
                evaluate_artifact(run, artifact, original)
            except (MissingTool, Unreachable) as absence:  # a kit, or an engine for a GPU that is not here
                result.unproven.append(f"{artifact.label}: {absence}")
                run.cache.listener.said("verify", f"not proven on this machine: {absence}")
            result.failed_gates += failed_gates(artifact)
    if not result.artifacts:
        raise GateFailed("; ".join(result.refused + result.failed_gates))
    report_artifacts(run, result)
    result.failed_gates += report_gates(result.report) if job.report.fail_on else []
    return result
