"""The application that every verb registers with."""

from __future__ import annotations

from typing import Annotated

import typer

from .. import __version__, terminal
from .options import Verbose

app = typer.Typer(
    name="pilotfish",
    help="Train a control policy, shrink it, export it to a small computer, and prove there that it still flies.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def example(*lines: str) -> str:
    """The epilog of a verb's help."""
    return "[bold]Example:[/bold] " + " ".join(f"[cyan]{line}[/cyan]" for line in lines)


@app.callback(invoke_without_command=True)
def _root(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    verbose: Verbose = False,
) -> None:
    if version:
        terminal.say(f"pilotfish {__version__}")
        raise typer.Exit
