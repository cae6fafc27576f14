"""The job file: what to train or adopt, how to compress, where to export, what to prove."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, TypeAdapter
from pydantic.dataclasses import dataclass

from ..errors import BadInput
from ..targets.profile import read_toml, validated

STRICT = ConfigDict(extra="forbid", use_attribute_docstrings=True)


@dataclass(frozen=True, config=STRICT)
class AdoptSettings:
    """[adopt]: start from a policy that was trained elsewhere."""

    checkpoint: str
    """Stable-Baselines3 zip, ONNX or TorchScript file; relative to the job file."""
    normalizer: str | None = None
    """VecNormalize pickle, relative to the job file; "none" says that there is none."""
    config: str | None = None
    """The checkpoint's own configuration (YAML), relative to the job file."""
    env: str | None = None
    """Gymnasium id that the policy acts in."""
    control_hz: float | None = Field(default=None, gt=0)
    """Decisions per second, where neither environment nor checkpoint say so."""


@dataclass(frozen=True, config=STRICT)
class ExportSettings:
    """[[export]]: one artifact to build."""

    target: str
    """Name of a shipped target, or the path of a profile relative to the job file."""
    backend: str | None = None
    """Back-end; default: the first one that the target lists."""
    guard: str | None = None
    """A shell that lets no senseless action through: "auto", or its settings (TOML, relative to the job file)."""


@dataclass(frozen=True, config=STRICT)
class VerifySettings:
    """[verify]: parity with the golden rollout."""

    tolerance: float | None = Field(default=None, gt=0)
    """Largest allowed deviation of an action; default: by precision."""


@dataclass(frozen=True, config=STRICT)
class BenchSettings:
    """[bench]: latency against the deadline."""

    control_hz: float | None = Field(default=None, gt=0)
    """Rate to pace at; default: the policy's, else the target's."""
    calls: int = Field(default=20_000, ge=100)
    """Calls of the tight loop."""
    paced_seconds: float = Field(default=3.0, gt=0)
    """How long to run paced at the control rate."""
    realtime: bool = False
    """Ask for SCHED_FIFO and locked memory; what was granted is stored."""
    pin: int | None = Field(default=None, ge=0)
    """Run on this core alone."""
    energy: Literal["auto"] | None = None
    """Also energy per action, by the device's own sensor. A meter of one's own: on the command line, since a job runs no code."""


@dataclass(frozen=True, config=STRICT)
class EvaluateSettings:
    """[evaluate]: closed-loop return of the artifact against the original policy."""

    episodes: int = Field(default=10, ge=1)
    """Paired episodes per artifact."""
    seed: int = 10_000
    """Seed of the first episode; training and healing use smaller ones."""
    gate: float | None = Field(default=None, gt=0, le=1)
    """Share of the original's return that every artifact must keep."""
    env: str | None = None
    """Gymnasium id; default: the policy's own."""
    fas: bool = False
    """Also the frequency-averaged score: every seed again with decisions 1, 2, 4 … 30 steps apart."""
    observation_delay: tuple[int, int] | int | None = None
    """Steps by which observations are late, or fewest and most; default: what each policy was trained with."""
    latency: str | float | None = None
    """By how much actions are late: microseconds, "measured" (by each artifact's own bench), or a bench result (path relative to
    the job file); default: as in training."""
    late: Literal["obey", "drop"] = "obey"
    """What becomes of a decision that misses its deadline."""
    video: bool = False
    """Film the episode with the median return, for the report; needs the video extra and OpenGL, and is left out without them."""


@dataclass(frozen=True, config=STRICT)
class ReportSettings:
    """[report]: the page that people look at."""

    output: str = "report.html"
    """File name inside the job's output folder; the JSON lies beside it."""
    title: str | None = None
    """Title of the page; default: the job's name."""
    fail_on: tuple[str, ...] = ()
    """Gates as of ``pilotfish report --fail-on``: in_time, regression, "paced_p99_us<500" …; one that fails is one of the job's
    failed gates. All of the report is written all the same, with JUnit XML beside it."""


@dataclass(frozen=True, config=STRICT)
class Job:
    """A whole job. Exactly one of train, adopt and policy says where the policy comes from."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    """Names the policies and the output folder."""
    export: Annotated[tuple[ExportSettings, ...], Field(min_length=1)]
    """Artifacts to build, of the original and of the compressed policy."""
    train: dict[str, Any] | None = None
    """Settings of the trainer; see pilotfish.train.config."""
    adopt: AdoptSettings | None = None
    """Or: the checkpoint to adopt."""
    policy: str | None = None
    """Or: an existing bundle, relative to the job file."""
    compress: tuple[dict[str, Any], ...] = ()
    """Passes in order; see pilotfish.compress."""
    verify: VerifySettings = Field(default_factory=VerifySettings)
    """Parity."""
    bench: BenchSettings = Field(default_factory=BenchSettings)
    """Latency."""
    evaluate: EvaluateSettings = Field(default_factory=EvaluateSettings)
    """Return."""
    report: ReportSettings = Field(default_factory=ReportSettings)
    """The page."""
    output: str | None = None
    """Folder for everything; default: runs/NAME."""
    seed: int = 0
    """Seed of training and healing."""
    seeds: int = Field(default=1, ge=1, le=1000)
    """Trainings, with ``seed`` and the seeds after it: the job goes on with the policy that does best on held-out episodes."""
    device: str = "auto"
    """auto, cpu or cuda, for training and healing."""


_JOB: TypeAdapter[Job] = TypeAdapter(Job)


def load_job(path: str | os.PathLike[str], **overrides: Any) -> Job:
    """Read and check a job file; ``overrides`` (not None) win over what it says. Relative paths become absolute."""
    where = Path(path)
    job = validated(_JOB, read_toml(where, "a job file"), where)
    sources = [name for name in ("train", "adopt", "policy") if getattr(job, name) is not None]
    if len(sources) != 1:
        raise BadInput(where, expected="exactly one of [train], [adopt] and policy", found=", ".join(sources) or "none")
    if job.seeds > 1 and job.train is None:
        raise BadInput(where, expected="[train] beside seeds", found=f"seeds = {job.seeds} and nothing to train")
    base = where.resolve().parent

    def absolute(value: str | None) -> str | None:
        return value if value in (None, "none", "measured") else str(base / value)

    if job.adopt is not None:
        paths: dict[str, Any] = {key: absolute(getattr(job.adopt, key)) for key in ("checkpoint", "normalizer", "config")}
        job = dataclasses.replace(job, adopt=dataclasses.replace(job.adopt, **paths))
    if isinstance(job.evaluate.latency, str):
        job = dataclasses.replace(job, evaluate=dataclasses.replace(job.evaluate, latency=absolute(job.evaluate.latency)))
    if job.train is not None and isinstance(job.train.get("latency"), str):
        job = dataclasses.replace(job, train=job.train | {"latency": absolute(job.train["latency"])})
    if job.policy is not None:
        job = dataclasses.replace(job, policy=absolute(job.policy))
    passes = tuple(step | _reached(step.get("teachers"), base) for step in job.compress)
    exports = tuple(
        dataclasses.replace(
            item,
            target=str(base / item.target) if item.target.endswith(".toml") else item.target,
            guard=item.guard if item.guard in (None, "auto") else str(base / item.guard),
        )
        for item in job.export
    )
    changes = {key: value for key, value in overrides.items() if value is not None}
    return dataclasses.replace(job, export=exports, compress=passes, **changes)


def _reached(teachers: Any, base: Path) -> dict[str, Any]:
    """The same bundles from where the job runs: the records of passes keep these paths, so they stay short."""
    if not isinstance(teachers, list) or not all(isinstance(item, str) for item in teachers):
        return {}  # whatever is wrong with them is said where the recipe is read
    return {"teachers": [os.path.relpath(base / item) for item in teachers]}
