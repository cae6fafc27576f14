"""policy.c -> policy.so and the native runner for a Linux computer that a link reaches: this kind of machine, or another."""

from __future__ import annotations

from pathlib import Path

from ...errors import Unsupported
from ...policy.bundle import Policy
from ...targets import host as this_machine
from ...targets.profile import Target
from .host import build_library, cpu_flags
from .machine import crossed
from .runner import TRIPLES, build_runner
from .toolchain import BASE_FLAGS, checked_flags, host_compiler, zig_compiler


def build_linux(
    policy: Policy, target: Target, folder: Path, more: tuple[str, ...] = ()
) -> tuple[dict[str, str], dict[str, int], str]:
    """(tools, sizes, machine) of what was compiled from policy.c, host_timing.c and ``more`` in ``folder``.

    The library is for a Python there, the runner for a device without one. Without compile.triple both are for this kind of
    machine; with one, Zig builds them for that, and the artifact loads there only. A guard (in ``more``)
    is part of both. Raises Unsupported for other triples.
    """
    if not crossed(target):
        tools = build_library(folder, target, more=more)
        machine, flags, compiler = this_machine.machine(), tools["flags"].split(), host_compiler()
    else:
        isa = target.compile.triple.partition("-")[0]
        if isa not in TRIPLES or "-linux" not in target.compile.triple:
            known = ", ".join(f"{name}-linux-gnu.2.28" for name in TRIPLES)
            raise Unsupported(
                f"target {target.name}, compile.triple", expected=f"such as {known}", found=repr(target.compile.triple)
            )
        compiler = zig_compiler()
        own = [*checked_flags(target), *([f"-mcpu={target.compile.mcpu}"] if target.compile.mcpu else [])]
        there = [*BASE_FLAGS, "-target", target.compile.triple, *own]
        compiler.run(
            [*there, "-fPIC", "-shared", "-Wl,-Bsymbolic", "-o", "policy.so", "policy.c", "host_timing.c", *more], folder
        )
        tools = {
            "compiler": compiler.version,
            "flags": " ".join(there),
            "cpu_flags": " ".join(cpu_flags(compiler, there, folder)),
            "binding": "none: built for another machine",
        }
        machine, flags = f"{'armv7l' if isa == 'arm' else isa}-linux", [*BASE_FLAGS, "-target", TRIPLES[isa], *own]
    sizes = {"library": (folder / "policy.so").stat().st_size}
    if machine.partition("-")[0] in (*TRIPLES, "armv7l") and machine.endswith("-linux"):
        sizes["runner"] = build_runner(folder, policy, compiler, flags)
    return tools, sizes, machine
