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
    Raises Unsupported for a graph or target that the back-end cannot print, BadInput if the image does not
    fit the target's memory, MissingTool without a compiler.
    """
    if target.link.kind not in ("local", "virtual"):
        raise Unsupported(f"target {target.name}, link", expected="local or virtual", found=target.link.kind)
    source = generate_for(policy, model, target)
    files = source.files | selftest_files(policy, target)
    virtual = target.link.kind == "virtual"
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
    else:
        tools = build_library(folder, target, more=more)
        sizes["library"] = (folder / "policy.so").stat().st_size
    return {
        "target": target,
        "backend": "c",
        "precision": policy.precision,
        "entry": "firmware.elf" if virtual else "policy.so",
        "native": not virtual,
        "machine": "any" if virtual else this_machine.machine(),
        "tools": tools
        | {
            "accuracy": target.compile.accuracy,
            "kernels": "; ".join(map(str, source.choices)),
            "memory": str(source.ram),
        },
        "sizes": sizes,
    }
