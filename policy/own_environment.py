"""Environments of the user's own, ``module:Class`` or ``module:Env-v0``: to make one is to import a module.

A stranger's policy, artifact or job file may say ``evil:Env`` too. What may be imported is therefore only what the user
trusts: by the command line, by :func:`trust_env`, or by the variable PILOTFISH_TRUST_ENV, in which it is kept for workers, too.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from .. import sealed
from ..errors import BadInput, require

if TYPE_CHECKING:
    import gymnasium

VARIABLE = "PILOTFISH_TRUST_ENV"
"""Names of trusted environments, with commas between them."""
_SHAPE = re.compile(r"[A-Za-z_][\w.]*:[\w./-]+", re.ASCII)
SHAPES = "module:Class, module:factory or module:Env-v0"


def is_own(name: str) -> bool:
    """Does the name lead to a module?"""
    return ":" in name


def trust_env(name: str | None) -> None:
    """Let this process and those that it starts import the module of ``name``; a registered id or None needs no trust."""
    if name is not None and is_own(name) and not _trusted(name):
        os.environ[VARIABLE] = ",".join(filter(None, (os.environ.get(VARIABLE, ""), _well_formed(name))))


def _trusted(name: str) -> bool:
    return name in (entry.strip() for entry in os.environ.get(VARIABLE, "").split(","))


def _well_formed(name: str) -> str:
    if not _SHAPE.fullmatch(name):
        raise BadInput(f"environment {name!r}", expected=SHAPES, found=repr(name))
    return name


def make_own(name: str, **options: Any) -> gymnasium.Env:
    """Import the module and make its environment: a class or function of that name is called with no arguments (``render_mode``
    aside), else the name is taken for an id that importing the module has registered.

    Raises BadInput for a name that nobody trusts, without importing anything, and for one that leads to no environment.
    """
    gym = require("gymnasium", "sim")
    if not _trusted(_well_formed(name)):
        raise BadInput(
            f"environment {name!r}",
            expected="one that the user trusts: making it runs code of the module",
            found="one that was not named by the user",
            repair=f"If you know that module: --trust-env {name} (pilotfish run), --env {name} (adopt, compress, evaluate), "
            f"pilotfish.policy.trust_env({name!r}) in Python, or {VARIABLE}={name}",
        )
    module, attribute = _module(name), name.partition(":")[2]
    make = getattr(module, attribute, None)
    if make is None:
        if attribute not in gym.registry:
            raise BadInput(
                f"environment {name!r}",
                expected=f"{attribute!r} in {getattr(module, '__file__', module.__name__)}, or an id that it registers",
                found="neither",
            )
        return gym.make(attribute, **options)
    if not callable(make):
        raise BadInput(f"environment {name!r}", expected="a class or a function", found=f"a {type(make).__name__}")
    env = make(**{key: value for key, value in options.items() if key == "render_mode"})
    if not isinstance(env, gym.Env):
        raise BadInput(f"environment {name!r}", expected="a gymnasium.Env", found=f"a {type(env).__name__}")
    return env


def _module(name: str) -> ModuleType:
    """Import it; the folder in which the command was given counts, as it does for ``python -m``."""
    module, here = name.partition(":")[0], str(Path.cwd())
    added = here not in sys.path and "" not in sys.path
    if added:
        sys.path.append(here)
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise BadInput(
            f"environment {name!r}",
            expected=f"a module {module!r} that can be imported from here or is installed",
            found=f"{type(error).__name__}: {error}",
        ) from error
    finally:
        if added:
            sys.path.remove(here)


def source_of_own(name: str | None) -> dict[str, str]:
    """{module: "sha256 …"} of the file that a trusted name's module came from, for provenance; empty for any other name."""
    if name is None or not is_own(name) or not _trusted(name):
        return {}
    module = name.partition(":")[0]
    path = getattr(_module(name), "__file__", None)
    return {module: f"sha256 {sealed.sha256_file(Path(path))}" if path and Path(path).is_file() else "no file"}
