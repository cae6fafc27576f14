"""The command line: each verb parses, calls a room, prints. No logic lives here."""

from __future__ import annotations

from .. import terminal
from .app import app

# isort: off
from . import job, train  # noqa: F401 each registers its verbs, in the order in which --help lists them
from . import compress, search  # noqa: F401
from . import export, prove  # noqa: F401
from . import targets, agent, doctor  # noqa: F401
# isort: on


def main(arguments: list[str] | None = None) -> int:
    """Run the CLI; returns the exit code (0 good, 1 a gate failed, 2 bad input, 3 a missing tool)."""
    return terminal.guarded(lambda: app(args=arguments, standalone_mode=False, prog_name="pilotfish"))
