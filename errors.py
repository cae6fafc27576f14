"""What can go wrong, one class per failure; each knows the exit code the CLI ends with."""

from __future__ import annotations

import importlib
from types import ModuleType


class PilotfishError(Exception):
    """The root of every error that Pilotfish raises on purpose."""

    exit_code = 2


class BadInput(PilotfishError):
    """A file, flag or setting is not what it should be.

    ``where`` names the thing, then: what was expected, what was found, how to repair it.
    """

    def __init__(self, where: object, *, expected: str, found: str, repair: str = "") -> None:
        self.where, self.expected, self.found, self.repair = str(where), expected, found, repair
        mend = f". {repair}" if repair else ""
        super().__init__(f"{where}: expected {expected}, found {found}{mend}")


class Unsupported(BadInput):
    """The input is well formed, and asks for something that Pilotfish does not do (yet)."""


class Untrusted(PilotfishError):
    """Native code that was neither built here nor named trusted by the user."""


class MissingTool(PilotfishError):
    """A package, compiler or program is not installed; the message says how to get it."""

    exit_code = 3


class Unreachable(PilotfishError):
    """A device, or the virtual board that stands for it, does not answer."""

    exit_code = 3


class GateFailed(PilotfishError):
    """Everything ran, and a limit that the user set was not met."""

    exit_code = 1


def require(module: str, extra: str) -> ModuleType:
    """Import an optional dependency, or say which ``pip install`` mends its absence."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        root = module.partition(".")[0]
        if error.name is None or error.name.partition(".")[0] != root:
            raise
        raise MissingTool(f'{root} is not installed; run: pip install "pilotfish[{extra}]"') from error
