"""Options that several verbs have, and the same everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .. import terminal

Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines on standard output.")]
Verbose = Annotated[
    bool, typer.Option("-v", "--verbose", help="Show the traceback of an error.", callback=terminal.set_verbose, is_eager=True)
]
Trust = Annotated[bool, typer.Option("--trust", help="Run native code in the artifact although it was not built here.")]
Device = Annotated[str, typer.Option(envvar="PILOTFISH_DEVICE", help="auto, cpu or cuda.")]
Seed = Annotated[int, typer.Option(envvar="PILOTFISH_SEED", help="Random seed.")]
Env = Annotated[
    str | None, typer.Option("--env", envvar="PILOTFISH_ENV", help="Gymnasium id, such as HalfCheetah-v5, or your module:Class.")
]
TrustEnv = Annotated[
    list[str] | None,
    typer.Option("--trust-env", metavar="MODULE:CLASS", help="Environment that the job may import from a module; repeatable."),
]
Output = Annotated[Path | None, typer.Option("-o", "--output", help="Where to write.")]
PolicyPath = Annotated[Path, typer.Argument(metavar="POLICY", help="A policy bundle, NAME.policy.")]
LinkUrl = Annotated[
    str | None,
    typer.Option(
        "--link", metavar="URL", envvar="PILOTFISH_LINK",
        help="How the device is reached, such as ssh://pi@raspberrypi.local or agent://HOST:7788; default: as the target says.",
    ),
]  # fmt: skip
ArtifactPath = Annotated[Path, typer.Argument(metavar="ARTIFACT", help="An artifact folder, NAME@TARGET.BACKEND.")]
TargetOption = Annotated[list[str], typer.Option("-t", "--target", help="A target's name or the path of a profile; repeatable.")]
