"""binding.c -> binding.so: the CPython extension that calls policy.so for less than the policy costs."""

from __future__ import annotations

import tempfile
from functools import lru_cache
from pathlib import Path

import numpy as np

from ...runtime.c_binding import BINDING, NoBinding, include_folders
from .source import template
from .toolchain import CompileError, Compiler

FLAGS = ("-std=c11", "-O2", "-DNDEBUG", "-fPIC", "-shared", "-fvisibility=hidden")
"""Nothing of the target's profile: the binding computes nothing, and this way it runs on every CPU of the machine's kind.
Hidden: it exports PyInit_policy_binding alone, so no name of it can stand before another library's."""


def build_binding(folder: Path, compiler: Compiler) -> str:
    """Write binding.c and binding.so into ``folder``; returns the manifest's line: what it takes, or "none: " and why.

    A machine without Python.h still gets its artifact: sessions call it through ctypes then.
    """
    try:
        code = _compiled(compiler, include_folders())
    except NoBinding as reason:
        return f"none: {reason}"
    except CompileError as error:
        return f"none: binding.c does not compile here ({str(error).splitlines()[-1].strip()[:200]})"
    (folder / "binding.c").write_text(template("binding.c"), encoding="utf-8")
    (folder / BINDING).write_bytes(code)
    return f"CPython 3.11 or newer (limited API), NumPy {np.__version__} headers"


@lru_cache
def _compiled(compiler: Compiler, includes: tuple[str, ...]) -> bytes:
    """The extension's bytes: the same for every policy, so a process compiles it once."""
    with tempfile.TemporaryDirectory(prefix="pilotfish-") as name:
        folder = Path(name)
        (folder / "binding.c").write_text(template("binding.c"), encoding="utf-8")
        search = [word for include in includes for word in ("-isystem", include)]
        compiler.run([*FLAGS, *search, "-o", BINDING, "binding.c"], folder)
        return (folder / BINDING).read_bytes()
