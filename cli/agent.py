"""``pilotfish agent``: let hosts that know a token, or have a certificate, prove artifacts on this device."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .. import terminal
from .app import app, example
from .options import Verbose


@app.command(epilog=example("pilotfish agent --token-file ~/.pilotfish-token"))
def agent(
    listen: Annotated[str, typer.Option(metavar="HOST:PORT", help="Where to listen; beyond this machine only with TLS.")] = (
        "127.0.0.1:7788"
    ),
    token_file: Annotated[
        Path | None, typer.Option(envvar="PILOTFISH_AGENT_TOKEN_FILE", help="File with the token that hosts must show.")
    ] = None,
    certificate: Annotated[Path | None, typer.Option(help="PEM file of this agent's certificate: TLS.")] = None,
    key: Annotated[Path | None, typer.Option(help="PEM file of its private key.")] = None,
    clients: Annotated[Path | None, typer.Option(help="PEM file of the authority that signs clients' certificates.")] = None,
    cache: Annotated[Path, typer.Option(help="Folder for what is installed.")] = Path("~/.cache/pilotfish"),
    lease_s: Annotated[float, typer.Option("--lease", min=0, help="Seconds that a user keeps the device after a job.")] = 60.0,
    verbose: Verbose = False,
) -> None:
    """Serve this device to a lab: one job at a time, those who wait in order, nobody without the token.

    Whoever is let in runs what they install, as the account that runs the agent: give it one of its own.
    """
    from ..targets.links.agent_server import Agent, AgentSettings
    from ..targets.links.agent_token import read_token

    token = read_token(token_file) if token_file else ""
    running = Agent(AgentSettings(listen, token, certificate, key, clients, cache, lease_s))
    terminal.note(f"listening on {running.address}; Ctrl-C ends it")
    try:
        running.wait()
    except KeyboardInterrupt:
        terminal.note("ended, and everything that ran here")
    finally:
        running.close()
