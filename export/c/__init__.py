"""export/c: ONNX graph -> readable C99, compiled for this machine or into the firmware of a microcontroller."""

from __future__ import annotations

from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Any

from ...errors import Unsupported
from ...policy.bundle import Policy
from ...policy.guard_table import read_guard
from ...policy.layers import HashedLinear
from ...targets import host as this_machine
from ...targets.profile import Target
from .firmware import build_firmware, memory_map
from .guard import HARNESS, TIMING, guard_files
from .header import header_of
from .host import build_library
from .linux import build_linux
from .machine import machine_for
from .operators import OPERATORS, READ_ONLY
from .reader import read
from .selftest import selftest_files
from .serial import serial_beside
from .source import Source, generate, template

if TYPE_CHECKING:
    import onnx

__all__ = ["build", "generate_for"]


def generate_for(policy: Policy, model: onnx.ModelProto, target: Target) -> Source:
    """The C program of ``policy`` for ``target``, whose compiler is asked what the processor has; compiles nothing."""
    graph = read(model, {*OPERATORS, *READ_ONLY})
    graph.hashed |= {f"{layer.name}.weight": layer for layer in policy.layers if isinstance(layer, HashedLinear)}
    return generate(graph, machine_for(target), header_of(policy))


def build(policy: Policy, model: onnx.ModelProto, target: Target, folder: Path) -> dict[str, Any]:
    """Write sources and binary into ``folder``; returns the back-end's fields of the manifest.

    ``sizes`` in bytes: weights (constant tables), arena (scratch), state (the caller's), and for firmware flash and ram
    (static); a target with a [uart] table gets a serial firmware too (``serial_flash``, ``serial_ram``). ``tools`` say for
    every dense layer which kernel it got, and how close scratch memory is to the least possible.
    A computer that a link reaches gets a native runner beside the library (:mod:`pilotfish.export.c.runner`).
    Raises Unsupported for a graph or target that the back-end cannot print, BadInput if the image does not
    fit the target's memory, MissingTool without a compiler.
    """
    if target.link.kind == "serial":
        expected = "virtual: a board's firmware is built from its virtual board's profile, and reached with --link serial://PORT"
        raise Unsupported(f"target {target.name}, link", expected=expected, found="serial")
    source = generate_for(policy, model, target)
    files = source.files | selftest_files(policy, target)
    virtual, machine = target.link.kind == "virtual", this_machine.machine()
    if virtual:
        files |= {name: template(name) for name in ("harness.c", "startup.c")}
        files["link.ld"] = Template(template("link.ld.in")).substitute(memory_map(target))
    else:
        files["host_timing.c"] = template("host_timing.c")
    guard = read_guard(folder)
    more: tuple[str, ...] = ()
    if guard is not None:
        beside = HARNESS if virtual else TIMING
        files |= guard_files(policy, guard) | {beside: template(beside)}
        more = ("guard.c", beside)
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    sizes = {"weights": source.table_bytes, "arena": source.arena_bytes, "state": source.ram.state_bytes}
    if virtual:
        tools, measured = build_firmware(folder, target, more=more)
        sizes |= measured
        if target.uart is not None:
            tools["serial"], measured = serial_beside(policy, target, folder)
            sizes |= measured
    elif target.link.kind in ("ssh", "agent"):
        tools, measured, machine = build_linux(policy, target, folder, more)
        sizes |= measured
    else:
        tools = build_library(folder, target, more=more)
        sizes["library"] = (folder / "policy.so").stat().st_size
    return {
        "target": target,
        "backend": "c",
        "precision": policy.precision,
        "entry": "firmware.elf" if virtual else "policy.so",
        "native": not virtual,
        "machine": "any" if virtual else machine,
        "tools": tools
        | {
            "accuracy": target.compile.accuracy,
            "kernels": "; ".join(map(str, source.choices)),
            "memory": str(source.ram),
        },
        "sizes": sizes,
    }
