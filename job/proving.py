"""The steps of a job that prove a policy: exported, verified, timed and flown per artifact, then reported."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

from ..errors import MissingTool, Unsupported
from ..policy.bundle import Policy
from ..policy.guard_table import dumped, load_guard
from ..policy.latency import Latency
from ..runtime.artifact import RESULTS, Artifact
from ..targets import host
from ..targets.profile import TARGET, Target
from .cache import fingerprint
from .outcome import JobResult
from .run import Run
from .schema import ExportSettings
from .summary import one_line


def export_artifact(run: Run, policy: Policy, item: ExportSettings, target: Target) -> Artifact:
    """Build one artifact, or take the one that is there."""
    backend = item.backend or target.backends[0]
    path = run.folder / "dist" / f"{policy.name}@{target.name}.{backend}"
    control_hz = run.job.bench.control_hz
    depends = {
        "policy": policy.digest,
        "target": TARGET.dump_python(target, mode="json"),
        "backend": backend,
        "control_hz": control_hz,
    }
    guard = None if item.guard is None else load_guard(item.guard, policy.contract, control_hz=control_hz)
    if guard is not None:
        depends["guard"] = dumped(guard)

    def action() -> str:
        from ..export.build import export_policy

        artifact = export_policy(
            policy,
            target,
            backend,
            run.folder / "dist",
            control_hz=control_hz,
            guard=guard,
            say=lambda line: run.cache.listener.said("export", line),
        )
        return ", ".join(f"{name} {size:,} bytes" for name, size in artifact.manifest.sizes.items())

    run.cache.run(f"export-{path.name}", depends | _here(target), [path], action)
    return Artifact.load(path)


def verify_artifact(run: Run, artifact: Artifact) -> None:
    """Parity with the golden rollout."""
    from ..runtime.verify import verify

    settings = dataclasses.asdict(run.job.verify)
    _prove(run, "verify", artifact, settings, lambda progress: verify(artifact, progress=progress, **settings))


def bench_artifact(run: Run, artifact: Artifact) -> None:
    """Latency on the target."""
    from ..runtime.bench import bench

    settings = dataclasses.asdict(run.job.bench)
    depends = settings | _here(artifact.manifest.target)
    _prove(run, "bench", artifact, depends, lambda progress: bench(artifact, progress=progress, **settings))


def evaluate_artifact(run: Run, artifact: Artifact, original: Policy) -> None:
    """Closed-loop return, where there is an environment."""
    from ..runtime.evaluate import evaluate

    settings = dataclasses.asdict(run.job.evaluate)
    video = settings.pop("video")
    if (run.job.evaluate.env or artifact.manifest.contract.provenance.env) is None:
        return
    depends = settings | {"original": original.digest}
    if isinstance(run.job.evaluate.latency, str):
        from ..runtime.flight import MEASURED

        source = artifact.path if run.job.evaluate.latency == MEASURED else run.job.evaluate.latency
        depends["latency"] = dataclasses.asdict(Latency.read(source))
    _prove(
        run, "evaluate", artifact, depends, lambda progress: evaluate(artifact, reference=original, progress=progress, **settings)
    )
    if video:
        _film(run, artifact, {name: settings[name] for name in ("env", "observation_delay", "latency", "late")})


def report_artifacts(run: Run, result: JobResult) -> None:
    """The page and its JSON; the JUnit XML, where gates are asked for."""
    from ..runtime.report import write_report

    proofs = [
        fingerprint(a.path / RESULTS / f"{name}.json")
        for a in result.artifacts
        for name in ("verify", "bench", "evaluate", "film")
    ]
    settings, written = run.job.report, [result.report, result.report.with_suffix(".json")]
    depends = {"artifacts": [a.digest for a in result.artifacts], "results": proofs, "title": settings.title}
    if settings.fail_on:
        depends["fail_on"] = settings.fail_on
        written.append(result.report.with_suffix(".junit.xml"))

    def action() -> str:
        write_report(result.artifacts, result.report, title=settings.title or run.job.name, fail_on=settings.fail_on)
        return str(result.report)

    run.cache.run("report", depends, written, action)


def _film(run: Run, artifact: Artifact, settings: dict[str, Any]) -> None:
    """A film beside the evaluation; no failure where none can be made."""
    from ..runtime.film import FILM, film

    results, step = artifact.path / RESULTS, f"film-{artifact.path.name}"
    depends = {"artifact": artifact.digest, "evaluation": fingerprint(results / "evaluate.json")}

    def action() -> str:
        made = film(artifact, **settings)
        return f"{made['shown_s']:.1f} s of seed {made['seed']}, {made['bytes']:,} bytes"

    try:
        run.cache.run(step, depends, [results / "film.json", results / FILM], action)
    except (MissingTool, Unsupported) as absence:
        run.cache.listener.said(step, f"no film: {absence}")


def _prove(run: Run, name: str, artifact: Artifact, depends: dict[str, Any], action: Callable[[Any], dict[str, Any]]) -> None:
    """One proving step; its result lies in the artifact and is the step's output."""
    path, step = artifact.path / RESULTS / f"{name}.json", f"{name}-{artifact.path.name}"

    def counted() -> str:
        with run.cache.listener.counting(step) as progress:
            return one_line(name, action(progress))

    run.cache.run(step, depends | {"artifact": artifact.digest}, [path], counted)


def _here(target: Target) -> dict[str, Any]:
    """Local builds and timings belong to this machine: on another one they are made again."""
    return {"machine": host.device_name()} if target.link.kind == "local" else {}
