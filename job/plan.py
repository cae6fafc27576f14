"""The steps of a job, in order: source, compress, then export, verify, bench and evaluate per artifact, report."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import GateFailed, MissingTool, Unreachable, Unsupported
from ..policy.bundle import Policy
from ..policy.guard_table import dumped, load_guard
from ..policy.latency import Latency
from ..policy.own_environment import source_of_own
from ..runtime.artifact import RESULTS, Artifact
from ..targets import host, load_target
from ..targets.profile import TARGET, Target
from .cache import Listener, Silent, StepCache, fingerprint
from .outcome import JobResult, failed_gates, report_gates
from .schema import ExportSettings, Job
from .summary import one_line


def run_job(job: Job, *, listener: Listener | None = None, progress: bool = True) -> JobResult:
    """Run (or resume) a job; see :class:`pilotfish.job.schema.Job`. Gates that fail are listed, not raised."""
    run = _Run(job, listener or Silent(), progress)
    # Everything that can be wrong with the later steps is looked at before hours of training begin.
    targets = [(item, load_target(item.target)) for item in job.export]
    run.check(targets)
    original = run.source()
    compressed = run.compress(original) if job.compress else None
    result = JobResult(run.folder, run.folder / job.report.output, original, compressed)
    for policy in filter(None, (original, compressed)):
        for item, target in targets:
            try:
                artifact = run.export(policy, item, target)
            except GateFailed as refusal:
                last = compressed is None or policy is compressed
                (result.failed_gates if last else result.refused).append(str(refusal))
                run.cache.listener.said("export", str(refusal))
                continue
            result.artifacts.append(artifact)
            try:
                run.verify(artifact)
                run.bench(artifact)
                run.evaluate(artifact, original)
            except (MissingTool, Unreachable) as absence:  # a kit, or an engine for a GPU that is not here
                result.unproven.append(f"{artifact.label}: {absence}")
                run.cache.listener.said("verify", f"not proven on this machine: {absence}")
            result.failed_gates += failed_gates(artifact)
    if not result.artifacts:
        raise GateFailed("; ".join(result.refused + result.failed_gates))
    run.report(result)
    result.failed_gates += report_gates(result.report) if job.report.fail_on else []
    return result


class _Run:
    """One run of a job: the folder, the cache, and a method per step."""

    def __init__(self, job: Job, listener: Listener, progress: bool) -> None:
        self.job, self.progress = job, progress
        self.folder = Path(job.output or f"runs/{job.name}")
        self.cache = StepCache(self.folder / "steps", listener)

    def check(self, targets: list[tuple[ExportSettings, Target]]) -> None:
        """Settings of later steps, refused now rather than after the training."""
        from ..errors import BadInput
        from ..policy.environment import make_env
        from ..targets.profile import near

        for item, target in targets:
            if item.backend is not None and item.backend not in target.backends:
                raise BadInput(
                    f"[[export]] backend {item.backend!r}",
                    expected=f"one that {target.name} lists: {', '.join(target.backends)}",
                    found=repr(item.backend),
                    repair=near(item.backend, list(target.backends)),
                )
        if self.job.report.fail_on:
            from ..runtime.report.gates import parse_gate

            for text in self.job.report.fail_on:
                parse_gate(text, "[report] fail_on")
        config = self._train_config()
        for path in self._teachers():
            Policy.load(path)
        named = (config and config.scene, self.job.adopt and self.job.adopt.env, self.job.evaluate.env)
        for env in dict.fromkeys(filter(None, named)):
            make_env(env).close()

    def _train_config(self) -> Any:
        if self.job.train is None:
            return None
        from ..train.config import train_config

        return train_config({"seed": self.job.seed} | self.job.train, "[train]")

    def _recipe(self) -> Any:
        if not self.job.compress:
            return ()
        from ..compress.recipe import parse_recipe

        return parse_recipe(list(self.job.compress), "[[compress]]")

    def _teachers(self) -> list[str]:
        """Bundles that the recipe reads besides its own policy."""
        if not (recipe := self._recipe()):
            return []
        from ..compress.teachers import bundles_of

        return bundles_of(recipe)

    def source(self) -> Policy:
        """Train, adopt or read the policy that everything else starts from."""
        path = self.folder / "policies" / f"{self.job.name}.policy"
        if self.job.policy is not None:
            policy = Policy.load(self.job.policy)
            self.cache.run("source", {"policy": policy.digest}, [path], lambda: _save(policy, path))
        elif self.job.adopt is not None:
            settings = self.job.adopt
            files = {
                key: fingerprint(Path(value))
                for key in ("checkpoint", "normalizer", "config")
                if (value := getattr(settings, key))
            }
            self.cache.run(
                "adopt", dataclasses.asdict(settings) | {"files": files, "name": self.job.name}, [path], lambda: self._adopt(path)
            )
        else:
            config = self._train_config()
            depends = {"config": dataclasses.asdict(config), "name": self.job.name, "seeds": self.job.seeds}
            depends |= source_of_own(config.env)
            self.cache.run("train", depends, [path], lambda: self._train(config, path))
        return Policy.load(path)

    def _adopt(self, path: Path) -> str:
        from ..policy.adopt import adopt

        settings = self.job.adopt
        assert settings is not None
        policy = adopt(
            Path(settings.checkpoint),
            normalizer=Path(settings.normalizer) if settings.normalizer else None,
            config=Path(settings.config) if settings.config else None,
            env=settings.env,
            name=self.job.name,
            control_hz=settings.control_hz,
            seed=self.job.seed,
        )
        return _save(policy, path)

    def _train(self, config: Any, path: Path) -> str:
        if self.job.seeds == 1:
            from ..train.run import train

            policy = train(config, self.folder / "train", device=self.job.device, progress=self.progress)
        else:
            from ..train.seeds import train_seeds

            folder, several = self.folder / "train", self.job.seeds
            result = train_seeds(config, folder, seeds=several, device=self.job.device, progress=self.progress)
            policy = result.best.policy
            for note in policy.contract.provenance.notes:
                self.cache.listener.said("train", note)
        return _save(policy.replace(name=self.job.name), path)

    def compress(self, original: Policy) -> Policy:
        """Run the recipe; the result is NAME-small."""
        path = self.folder / "policies" / f"{self.job.name}-small.policy"
        from ..compress.passes import summary
        from ..compress.recipe import compress, dump_recipe

        recipe = self._recipe()
        depends = {"policy": original.digest, "recipe": dump_recipe(recipe), "seed": self.job.seed, "env": self.job.evaluate.env}
        if teachers := self._teachers():
            depends["teachers"] = {path: fingerprint(Path(path)) for path in teachers}

        def action() -> str:
            small = compress(
                original,
                recipe,
                device=self.job.device,
                env=self.job.evaluate.env,
                seed=self.job.seed,
                progress=self.progress,
                on_pass=lambda _, record: self.cache.listener.said("compress", summary(record)),
            )
            return _save(small.replace(name=f"{self.job.name}-small"), path)

        self.cache.run("compress", depends, [path], action)
        return Policy.load(path)

    def export(self, policy: Policy, item: ExportSettings, target: Target) -> Artifact:
        """Build one artifact, or take the one that is there."""
        backend = item.backend or target.backends[0]
        path = self.folder / "dist" / f"{policy.name}@{target.name}.{backend}"
        control_hz = self.job.bench.control_hz
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
                self.folder / "dist",
                control_hz=control_hz,
                guard=guard,
                say=lambda line: self.cache.listener.said("export", line),
            )
            return ", ".join(f"{name} {size:,} bytes" for name, size in artifact.manifest.sizes.items())

        self.cache.run(f"export-{path.name}", depends | self._here(target), [path], action)
        return Artifact.load(path)

    def verify(self, artifact: Artifact) -> None:
        """Parity with the golden rollout."""
        from ..runtime.verify import verify

        settings = dataclasses.asdict(self.job.verify)
        self._prove("verify", artifact, settings, lambda progress: verify(artifact, progress=progress, **settings))

    def bench(self, artifact: Artifact) -> None:
        """Latency on the target."""
        from ..runtime.bench import bench

        settings = dataclasses.asdict(self.job.bench)
        depends = settings | self._here(artifact.manifest.target)
        self._prove("bench", artifact, depends, lambda progress: bench(artifact, progress=progress, **settings))

    def evaluate(self, artifact: Artifact, original: Policy) -> None:
        """Closed-loop return, where there is an environment."""
        from ..runtime.evaluate import evaluate

        settings = dataclasses.asdict(self.job.evaluate)
        video = settings.pop("video")
        if (self.job.evaluate.env or artifact.manifest.contract.provenance.env) is None:
            return
        depends = settings | {"original": original.digest}
        if isinstance(self.job.evaluate.latency, str):
            from ..runtime.flight import MEASURED

            source = artifact.path if self.job.evaluate.latency == MEASURED else self.job.evaluate.latency
            depends["latency"] = dataclasses.asdict(Latency.read(source))
        self._prove(
            "evaluate", artifact, depends, lambda progress: evaluate(artifact, reference=original, progress=progress, **settings)
        )
        if video:
            self._film(artifact, {name: settings[name] for name in ("env", "observation_delay", "latency", "late")})

    def _film(self, artifact: Artifact, settings: dict[str, Any]) -> None:
        """A film beside the evaluation; no failure where none can be made."""
        from ..runtime.film import FILM, film

        results, step = artifact.path / RESULTS, f"film-{artifact.path.name}"
        depends = {"artifact": artifact.digest, "evaluation": fingerprint(results / "evaluate.json")}

        def action() -> str:
            made = film(artifact, **settings)
            return f"{made['shown_s']:.1f} s of seed {made['seed']}, {made['bytes']:,} bytes"

        try:
            self.cache.run(step, depends, [results / "film.json", results / FILM], action)
        except (MissingTool, Unsupported) as absence:
            self.cache.listener.said(step, f"no film: {absence}")

    def _prove(self, name: str, artifact: Artifact, depends: dict[str, Any], action: Callable[[Any], dict[str, Any]]) -> None:
        """One proving step; its result lies in the artifact and is the step's output."""
        path, step = artifact.path / RESULTS / f"{name}.json", f"{name}-{artifact.path.name}"

        def counted() -> str:
            with self.cache.listener.counting(step) as progress:
                return one_line(name, action(progress))

        self.cache.run(step, depends | {"artifact": artifact.digest}, [path], counted)

    def _here(self, target: Target) -> dict[str, Any]:
        """Local builds and timings belong to this machine: on another one they are made again."""
        return {"machine": host.device_name()} if target.link.kind == "local" else {}

    def report(self, result: JobResult) -> None:
        """The page and its JSON; the JUnit XML, where gates are asked for."""
        from ..runtime.report import write_report

        proofs = [
            fingerprint(a.path / RESULTS / f"{name}.json")
            for a in result.artifacts
            for name in ("verify", "bench", "evaluate", "film")
        ]
        settings, written = self.job.report, [result.report, result.report.with_suffix(".json")]
        depends = {"artifacts": [a.digest for a in result.artifacts], "results": proofs, "title": settings.title}
        if settings.fail_on:
            depends["fail_on"] = settings.fail_on
            written.append(result.report.with_suffix(".junit.xml"))

        def action() -> str:
            write_report(result.artifacts, result.report, title=settings.title or self.job.name, fail_on=settings.fail_on)
            return str(result.report)

        self.cache.run("report", depends, written, action)


def _save(policy: Policy, path: Path) -> str:
    policy.save(path)
    size = f"{policy.parameters:,} parameters, {policy.nonzero_parameters:,} of them not zero"
    return f"{size}, {policy.weight_bytes:,} bytes, {policy.precision}"
