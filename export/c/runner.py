"""The native runner: one static executable that has the policy in it and speaks the wire protocol; no Python, no libc there."""

from __future__ import annotations

from pathlib import Path

from ...policy.bundle import Policy
from ...policy.guard_table import read_guard
from ...targets.links.shell_link import RUNNER
from ...targets.profile import Target
from .functions import template
from .toolchain import Compiler
from .wire import wire_files

SOURCES = ("runner.c", "runner_start.c", "wire.c")
OWN_FLAGS = ("-std=c99", "-O2", "-ffreestanding", "-fno-stack-protector", "-fno-pie", "-include", "runner.h")
"""For what surrounds the policy; the policy itself is compiled as its library is, so that the two compute the same."""
TRIPLES = {"x86_64": "x86_64-linux-musl", "aarch64": "aarch64-linux-musl", "arm": "arm-linux-musleabihf"}
"""Zig's names. musl is named because Zig wants a libc named; nothing of it is linked."""


def build_runner(folder: Path, policy: Policy, compiler: Compiler, flags: list[str]) -> int:
    """Compile the runner beside policy.c in ``folder``, with ``flags`` for the policy; its size in bytes.

    Where a guard lies there too (guard.json, guard.c), it is part of it, compiled as the policy is. ``compiler`` and ``flags``
    (a triple, the processor, optimization) are those of policy.so, whatever else they say of position-independent code.
    Raises CompileError for a machine that the runner does not know.
    """
    guard = read_guard(folder)
    own = {name: template(name) for name in ("runner.c", "runner.h", "runner_start.c")}
    for name, text in (wire_files(policy, guard) | own).items():
        (folder / name).write_text(text, encoding="utf-8")
    machine = [flag for at, flag in enumerate(flags) if flag == "-target" or flags[at - 1 : at] == ["-target"]]
    machine += [flag for flag in flags if flag.startswith(("-march=", "-mcpu=", "-mfpu=", "-mfloat-abi="))]
    objects = []
    for name in ("policy.c",) if guard is None else ("policy.c", "guard.c"):
        objects.append(f"runner_{Path(name).stem}.o")
        compiler.run([*flags, "-fno-stack-protector", "-fno-pie", "-c", name, "-o", objects[-1]], folder)
    for name in SOURCES:
        objects.append(f"runner_{Path(name).stem}.o")
        compiler.run([*OWN_FLAGS, *machine, "-c", name, "-o", objects[-1]], folder)
    pie = [] if compiler.zig else ["-no-pie"]
    compiler.run([*machine, "-static", "-nostdlib", *pie, "-s", "-o", RUNNER, *objects], folder)
    for name in objects:
        (folder / name).unlink()
    (folder / RUNNER).chmod(0o755)
    return (folder / RUNNER).stat().st_size


def triple_of(target: Target) -> str:
    """Zig's triple for the runner of ``target``, or "" for an architecture that it does not know."""
    return TRIPLES.get(target.compile.triple.partition("-")[0], "")
