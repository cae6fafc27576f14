"""``pilotfish targets``: device profiles."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .. import tables, terminal
from .app import app, example
from .options import Json, Verbose

targets_app = typer.Typer(
    help="Device profiles: what there is, what one says, whether it can be used here.", no_args_is_help=True
)
app.add_typer(targets_app, name="targets")


@targets_app.command("list", epilog=example("pilotfish targets list"))
def targets_list(as_json: Json = False, verbose: Verbose = False) -> None:
    """The device profiles that come with Pilotfish."""
    from ..targets import load_target, shipped_targets

    tables.target_list([load_target(name) for name in shipped_targets()], as_json)


@targets_app.command("show", epilog=example("pilotfish targets show crazyflie > my-board.toml"))
def targets_show(
    target: Annotated[str, typer.Argument(metavar="TARGET", help="Name, or path of a profile.")],
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Print a profile as the TOML file that it is: copy it, edit it, pass its path to -t."""
    from ..targets import load_target, shipped_targets
    from ..targets.profile import TARGET

    profile = load_target(target)
    if as_json:
        terminal.data(TARGET.dump_python(profile, mode="json"))
    else:
        terminal.plain((shipped_targets().get(target) or Path(target)).read_text(encoding="utf-8"))


@targets_app.command("check", epilog=example("pilotfish targets check crazyflie"))
def targets_check(
    target: Annotated[str, typer.Argument(metavar="TARGET", help="Name, or path of a profile.")],
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Can this machine build for the target and reach it?"""
    from ..targets import load_target
    from ..targets.check import check_target

    tables.findings(check_target(load_target(target)), as_json)
