"""``pilotfish verify``, ``bench``, ``evaluate`` and ``report``: what an artifact is worth."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import typer

from .. import tables, terminal
from .app import app, example
from .options import ArtifactPath, Env, Json, LinkUrl, Trust, Verbose

if TYPE_CHECKING:
    from ..runtime.artifact import Artifact


def _reached(path: Path, link: str | None) -> Artifact:
    """The artifact at ``path``, on the device that ``link`` leads to; None: as its target says."""
    from ..runtime.artifact import Artifact
    from ..targets.reach import parse_link

    built = Artifact.load(path)
    return built.reached_by(parse_link(link) if link else built.manifest.target.link, terminal.note)


@app.command(epilog=example("pilotfish verify dist/cheetah@crazyflie.c"))
def verify(
    artifact: ArtifactPath,
    tolerance: Annotated[float | None, typer.Option(min=0, help="Largest allowed deviation; default: by precision.")] = None,
    link: LinkUrl = None,
    trust: Trust = False,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Hold an artifact against its golden rollout, on the target."""
    from ..runtime.verify import verify as verify_artifact

    built = _reached(artifact, link)
    with terminal.counting("verify") as progress:
        result = verify_artifact(built, trust=trust, tolerance=tolerance, progress=progress)
    tables.result("verify", built, result, as_json)
    terminal.end_with_gates([] if result["passed"] else [f"{built.label} does not match its golden rollout"])


@app.command(epilog=example("pilotfish bench dist/cheetah@host-cpu.c --control-hz 500"))
def bench(
    artifact: ArtifactPath,
    control_hz: Annotated[
        float | None, typer.Option(min=0.001, help="Rate to pace at; default: the policy's, else the target's.")
    ] = None,
    calls: Annotated[int, typer.Option(min=100, help="Calls of the tight loop.")] = 20_000,
    paced_seconds: Annotated[float, typer.Option(min=0.01, help="How long to run at the control rate.")] = 3.0,
    soak: Annotated[
        str | None, typer.Option(metavar="TIME", help="Instead: only paced, for 90s, 10m or 2h, with drift and temperature.")
    ] = None,
    realtime: Annotated[
        bool, typer.Option("--realtime", help="Ask for SCHED_FIFO and locked memory; what was granted is told.")
    ] = False,
    pin: Annotated[int | None, typer.Option(min=0, metavar="CORE", help="Run on this core alone.")] = None,
    energy: Annotated[
        str | None,
        typer.Option(metavar="auto|MODULE:FUNCTION", help="Also energy per action: the device's sensor, or your meter."),
    ] = None,
    link: LinkUrl = None,
    trust: Trust = False,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Measure latency: a tight loop, and paced at the control rate against the deadline."""
    from ..runtime.bench import bench as bench_artifact
    from ..runtime.soak import seconds_of
    from ..runtime.soak import soak as soak_artifact

    built = _reached(artifact, link)
    asked: dict[str, Any] = {"trust": trust, "control_hz": control_hz, "realtime": realtime, "pin": pin}
    name = "soak" if soak else "bench"
    with terminal.counting(name) as progress:
        if soak:
            result = soak_artifact(built, seconds_of(soak), say=terminal.progress_line, progress=progress, **asked)
        else:
            result = bench_artifact(built, calls=calls, paced_seconds=paced_seconds, energy=energy, progress=progress, **asked)
    for each in result.get("conditions", []):
        if not each["granted"]:
            terminal.note(f"{each['name']} ({each['asked']}) was not granted: {each['note']}")
    for warning in [*result.get("warnings", []), *result.get("notes", [])]:
        terminal.note(warning)
    tables.result(name, built, result, as_json)


@app.command(epilog=example("pilotfish evaluate dist/cheetah@crazyflie.c --reference cheetah.policy --episodes 20 --gate 0.95"))
def evaluate(
    artifact: ArtifactPath,
    env: Env = None,
    episodes: Annotated[int, typer.Option(min=1, envvar="PILOTFISH_EPISODES", help="Paired episodes.")] = 10,
    seed: Annotated[int, typer.Option(envvar="PILOTFISH_SEED", help="Seed of the first episode.")] = 10_000,
    gate: Annotated[float | None, typer.Option(min=0, max=1, help="Share of the reference's return that must be kept.")] = None,
    reference: Annotated[Path | None, typer.Option(help="Policy bundle to compare with; default: the artifact's own.")] = None,
    fas: Annotated[
        bool, typer.Option("--fas", help="Also the frequency-averaged score: decisions 1, 2, 4 … 30 steps apart.")
    ] = False,
    observation_delay: Annotated[
        int | None, typer.Option(min=0, help="Steps by which observations are late; default: as in training.")
    ] = None,
    latency: Annotated[
        str | None,
        typer.Option(help="How late actions are: microseconds, measured (by its bench), or a bench result; default: as trained."),
    ] = None,
    late: Annotated[str, typer.Option(metavar="obey|drop", help="What becomes of a decision that misses its deadline.")] = "obey",
    video: Annotated[bool, typer.Option("--video", help="Film the episode with the median return, for the report.")] = False,
    link: LinkUrl = None,
    trust: Trust = False,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Closed-loop return of the artifact itself, on the same seeds as its reference."""
    from ..policy import Policy, trust_env
    from ..runtime.evaluate import evaluate as evaluate_artifact
    from ..runtime.film import film_or_say

    trust_env(env)
    built = _reached(artifact, link)
    against = Policy.load(reference) if reference else None
    with terminal.counting("evaluate") as progress:
        result = evaluate_artifact(
            built,
            env=env,
            episodes=episodes,
            seed=seed,
            gate=gate,
            reference=against,
            trust=trust,
            fas=fas,
            observation_delay=observation_delay,
            latency=terminal.number_or_text(latency),
            late=cast("Literal['obey', 'drop']", late),
            here=False if link else None,
            progress=progress,
        )
    if video:
        delays: dict[str, Any] = {"observation_delay": observation_delay, "latency": terminal.number_or_text(latency)}
        film_or_say(built, terminal.note, env=env, trust=trust, late=late, here=False if link else None, **delays)
    tables.result("evaluate", built, result, as_json)
    terminal.end_with_gates([] if result["passed"] else [f"{built.label} keeps less of the return than the gate {gate} asks for"])


@app.command(epilog=example("pilotfish report dist/cheetah@host-cpu.c dist/cheetah@crazyflie.c -o report.html"))
def report(
    artifacts: Annotated[list[Path], typer.Argument(metavar="ARTIFACT...", help="Artifact folders.")],
    output: Annotated[Path, typer.Option("-o", "--output", help="The HTML page; a JSON of the same name lies beside it.")] = Path(
        "report.html"
    ),
    title: Annotated[str | None, typer.Option(help="Title of the page.")] = None,
    fail_on: Annotated[
        list[str] | None,
        typer.Option(
            metavar="GATE", help="flies, in_time, fits, faithful, regression, or a limit such as paced_p99_us<500; repeatable."
        ),
    ] = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """One page that people look at, one JSON that machines read."""
    from ..runtime.artifact import Artifact
    from ..runtime.report import write_report

    summary = write_report([Artifact.load(path) for path in artifacts], output, title=title, fail_on=fail_on or ())
    if as_json:
        terminal.data(summary)
    else:
        terminal.say(f"[green]✓[/green] {output} and {output.with_suffix('.json')}")
    for change in summary["changes"]:
        if change["mark"] == "bad":
            terminal.note(f"{change['label']}: {change['sentence']}")
    terminal.end_with_gates([f"{one['gate']}: {one['message']}" for one in summary["gates"] if one["state"] == "failed"])
