"""``pilotfish run``: a job file, from training to report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .. import tables, terminal
from ..errors import Unreachable
from .app import app, example
from .options import Json, Output, TrustEnv, Verbose


@app.command(epilog=example("pilotfish run examples/halfcheetah.toml"))
def run(
    job_file: Annotated[Path, typer.Argument(metavar="JOB", help="A job file (TOML).")],
    output: Output = None,
    seed: Annotated[int | None, typer.Option(envvar="PILOTFISH_SEED", help="Overrides the job's seed.")] = None,
    device: Annotated[str | None, typer.Option(envvar="PILOTFISH_DEVICE", help="auto, cpu or cuda.")] = None,
    trusted: TrustEnv = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Train or adopt, compress, export, verify, bench, evaluate and report: all from one file, resumable.

    Each step is cached by the content it depends on: run the same command again after an interrupt and it goes on.
    """
    from ..job import load_job, run_job
    from ..policy import trust_env

    for name in trusted or []:
        trust_env(name)
    job = load_job(job_file, output=str(output) if output else None, seed=seed, device=device)
    result = run_job(job, listener=terminal.StepPrinter(), progress=terminal.interactive())
    summary = {
        "folder": str(result.folder),
        "report": str(result.report),
        "artifacts": [str(a.path) for a in result.artifacts],
        "failed_gates": result.failed_gates,
        "unproven": result.unproven,
    }
    if as_json:
        terminal.data(summary)
    else:
        tables.artifact_table(result.artifacts)
        terminal.say(f"Report: [bold]{result.report}[/bold]")
    terminal.end_with_gates(result.failed_gates)
    if result.unproven:
        raise Unreachable("built, and not proven on this machine: " + "; ".join(result.unproven))
