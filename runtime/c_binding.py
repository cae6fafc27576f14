"""binding.so, the CPython extension beside policy.so: what building it takes, and loading the bytes that were sealed."""

from __future__ import annotations

import importlib.util
import sys
import sysconfig
import tempfile
from functools import lru_cache
from importlib.machinery import ExtensionFileLoader
from pathlib import Path
from types import ModuleType

import numpy as np

from .artifact import Artifact

BINDING = "binding.so"
"""Its name in an artifact. One that has none is called through ctypes."""
MODULE = "policy_binding"


class NoBinding(Exception):
    """There is no extension to be had here; says why, in words, for the user to read."""


def require_cpython() -> None:
    """Raise NoBinding unless this is an interpreter that the limited API of CPython 3.11 serves."""
    if sys.implementation.name != "cpython":
        raise NoBinding(f"this is {sys.implementation.name}; the extension is for CPython")
    if "t" in getattr(sys, "abiflags", ""):
        raise NoBinding("this is a free-threaded Python; the extension relies on the interpreter lock")


def include_folders() -> tuple[str, ...]:
    """The folders of Python.h and of NumPy's headers, for a compiler; NoBinding says which one is missing."""
    require_cpython()
    python = Path(sysconfig.get_paths()["include"])
    if not (python / "Python.h").is_file():
        raise NoBinding("Python.h is not installed (Debian and Ubuntu: apt install python3-dev)")
    numpy = Path(np.get_include())
    if not (numpy / "numpy/arrayobject.h").is_file():
        raise NoBinding("NumPy's headers are not installed (Debian and Ubuntu: apt install python3-numpy-dev)")
    return str(python), str(numpy)


def load_binding(artifact: Artifact) -> ModuleType:
    """The extension module of ``artifact``, whose native code the caller has been told to trust.

    Raises NoBinding where the artifact has none or this interpreter does not take it, BadInput where the file is
    not the one that was sealed.
    """
    if BINDING not in artifact.manifest.files:
        said = artifact.manifest.tools.get("binding", "")
        raise NoBinding(said.removeprefix("none: ") or "the artifact was built without one; export it again")
    require_cpython()
    return _module(artifact.read(BINDING))


@lru_cache
def _module(code: bytes) -> ModuleType:
    """The module that these very bytes are; loaded once, for CPython never unloads an extension."""
    with tempfile.TemporaryDirectory(prefix="pilotfish-") as folder:
        path = Path(folder) / BINDING
        path.write_bytes(code)
        loader = ExtensionFileLoader(MODULE, str(path))
        spec = importlib.util.spec_from_file_location(MODULE, path, loader=loader)
        assert spec is not None  # a loader was given
        try:
            module = importlib.util.module_from_spec(spec)
            loader.exec_module(module)
        except (ImportError, RuntimeError) as error:  # NumPy raises RuntimeError for headers of another generation
            said = str(error).replace(str(path), BINDING).splitlines()
            raise NoBinding(f"{BINDING} does not load here: {said[0] if said else type(error).__name__}") from error
    return module
