"""Shared by the tests of the C back-end: policies made of random numbers, and libraries loaded from generated C."""

from __future__ import annotations

import ctypes
import itertools
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from pilotfish.policy.bundle import Policy

if TYPE_CHECKING:
    from side_by_side import Act

    from pilotfish.export.c.machine import Machine

sys.path.insert(0, str(Path(__file__).parent))  # random_policies.py, side_by_side.py and sanitized.py


class Loaded:
    """policy.so through ctypes: obs in, action out, the state carried."""

    def __init__(self, path: Path) -> None:
        self.library = ctypes.CDLL(str(path))
        self.sizes = tuple((ctypes.c_int32 * 4).in_dll(self.library, "policy_sizes"))
        self.state = np.zeros(max(1, self.sizes[1]), np.float32)
        self.action = np.zeros(self.sizes[2], np.int32 if self.sizes[3] else np.float32)

    def reset(self) -> None:
        self.library.policy_reset(self.state.ctypes.data_as(ctypes.c_void_p))

    def act(self, obs: np.ndarray) -> np.ndarray:
        row = np.ascontiguousarray(obs, np.float32)
        self.library.policy_step(*(a.ctypes.data_as(ctypes.c_void_p) for a in (row, self.state, self.action)))
        return self.action.copy()


def need_compiler() -> str:
    """Path of the system's C compiler, or a skip that names it."""
    path = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if path is None:
        pytest.skip("no system C compiler (cc, gcc, clang)")
    return path


@pytest.fixture(scope="session")
def system_compiler() -> str:
    """Path of the system's C compiler, or a skip that names it."""
    return need_compiler()


@pytest.fixture
def make_policy() -> Callable[..., Policy]:
    from random_policies import random_policy

    return random_policy


@pytest.fixture(scope="session")
def build_host(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Policy], Loaded]:
    """policy -> its library for this machine, built as the exporter builds it."""
    from pilotfish.export.c import build
    from pilotfish.export.onnx import to_onnx
    from pilotfish.targets.profile import load_target

    need_compiler()
    target, count = load_target("host-cpu"), itertools.count()

    def make(policy: Policy) -> Loaded:
        folder = tmp_path_factory.mktemp(f"host-{next(count)}")
        build(policy, to_onnx(policy), target, folder)
        return Loaded(folder / "policy.so")

    return make


@pytest.fixture(scope="session")
def compile_each(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., list[tuple[Act, list[str]]]]:
    """(policy, kinds of processor, flags) -> [(obs -> action, its kernels)], all compiled for this machine in one go."""
    from side_by_side import loaded_together

    from pilotfish.export.c import OPERATORS, READ_ONLY
    from pilotfish.export.c.header import header_of
    from pilotfish.export.c.reader import read
    from pilotfish.export.c.source import generate
    from pilotfish.export.c.toolchain import BASE_FLAGS
    from pilotfish.export.onnx import to_onnx

    compiler = need_compiler()

    def make(policy: Policy, machines: Sequence[Machine], flags: Sequence[str]) -> list[tuple[Act, list[str]]]:
        model = to_onnx(policy)
        sources = [generate(read(model, {*OPERATORS, *READ_ONLY}), machine, header_of(policy)) for machine in machines]
        acts = loaded_together(compiler, [*BASE_FLAGS, *flags], sources, tmp_path_factory.mktemp("each"))
        return [(act, [choice.kernel for choice in source.choices]) for act, source in zip(acts, sources, strict=True)]

    return make


@pytest.fixture(scope="session")
def compile_functions(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., ctypes.CDLL]:
    """(C text, more flags) -> a loaded library, compiled with the exporter's own flags, -O3 and -march=native."""
    from pilotfish.export.c.toolchain import BASE_FLAGS

    compiler = need_compiler()

    def make(text: str, *more: str) -> ctypes.CDLL:
        folder = tmp_path_factory.mktemp("functions")
        (folder / "f.c").write_text(text)
        flags = [*BASE_FLAGS, "-O3", "-march=native", "-Wall", "-Wextra", "-Werror", "-pedantic", "-fPIC", "-shared"]
        subprocess.run([compiler, *flags, *more, "f.c", "-o", "f.so"], cwd=folder, check=True)
        return ctypes.CDLL(str(folder / "f.so"))

    return make
