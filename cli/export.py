"""``pilotfish export``: policy and target -> artifact."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .. import terminal
from .app import app, example
from .options import Json, PolicyPath, TargetOption, Verbose


@app.command(epilog=example("pilotfish export cheetah.policy -t host-cpu -t crazyflie"))
def export(
    policy: PolicyPath,
    target: TargetOption,
    backend: Annotated[str | None, typer.Option(help="onnxruntime, c, tensorrt or tvm; default: the target's first.")] = None,
    precision: Annotated[
        str | None, typer.Option(help="fp32, int8: refuse any other policy. fp16, bf16: TensorRT rounds matrices.")
    ] = None,
    control_hz: Annotated[
        float | None,
        typer.Option(min=0.001, help="Rate that a virtual board must keep; default: the policy's, else the target's."),
    ] = None,
    accuracy: Annotated[
        str | None, typer.Option(help="Activation functions of the C back-end: exact (default) or fast, within about 1e-3.")
    ] = None,
    tune_trials: Annotated[
        int | None, typer.Option(min=0, help="Schedules that the tvm back-end tries out here, 384 take minutes; default: 0.")
    ] = None,
    guard: Annotated[
        str | None,
        typer.Option(metavar="auto|FILE", help="A shell that lets no senseless action through: auto, or its settings (TOML)."),
    ] = None,
    output: Annotated[Path, typer.Option("-o", "--output", help="Folder of the artifacts.")] = Path("dist"),
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Build artifacts: one folder NAME@TARGET.BACKEND per target, with all it takes to run, check and rebuild it.

    A policy that does not fit a virtual board's memory, or is too slow for its control period, is refused (exit code 1).
    """
    from ..export.build import export_policy
    from ..policy.bundle import Policy
    from ..policy.guard_table import load_guard
    from ..targets import load_target, with_accuracy, with_tune_trials

    bundle, profiles = (
        Policy.load(policy),
        [with_tune_trials(with_accuracy(load_target(name), accuracy), tune_trials) for name in target],
    )
    table = None if guard is None else load_guard(guard, bundle.contract, control_hz=control_hz)
    artifacts = [
        export_policy(
            bundle, profile, backend, output, precision=precision, control_hz=control_hz, guard=table, say=terminal.note
        )
        for profile in profiles
    ]
    if as_json:
        terminal.data([{"artifact": str(a.path), "sizes": a.manifest.sizes, "digest": a.digest} for a in artifacts])
    for artifact in artifacts if not as_json else []:
        sizes = ", ".join(f"{name} {size:,} B" for name, size in artifact.manifest.sizes.items())
        terminal.say(f"[green]✓[/green] {artifact.path}  ({sizes})")
