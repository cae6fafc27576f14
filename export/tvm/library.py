"""One function + glue -> policy.so for a Linux machine, or firmware.elf for a virtual board."""

from __future__ import annotations

from pathlib import Path
from string import Template
from typing import Any

from ...errors import require
from ...targets import host
from ...targets.profile import Target
from ..c.binding import build_binding
from ..c.firmware import build_firmware, memory_map
from ..c.functions import definitions
from ..c.source import template as c_template
from ..c.toolchain import BASE_FLAGS, host_compiler, zig_compiler
from .glue import template
from .processor import Processor
from .program import SYMBOL, Program

KERNELS = "kernels.o"
LINUX = "aarch64-linux-gnu.2.28"
"""Zig's triple for AArch64 Linux. glibc 2.28 (2018) is older than that of any Raspberry Pi OS or JetPack still in use."""
FLAGS = (*BASE_FLAGS, "-O2")
"""For the glue, which only copies: nothing of a processor's in it, the kernels are TVM's."""


def compile_kernels(program: Program, processor: Processor, folder: Path) -> None:
    """TVM's code generator: kernels.o, and kernels.py to read what was compiled."""
    tvm = require("tvm", "tvm")
    module = tvm.IRModule({SYMBOL: program.function})
    (folder / "kernels.py").write_text(module.script(), encoding="utf-8")
    # The checks of the arguments stay: one call, some 20 tensors, and a mistake of ours is seen instead of computed with.
    built = tvm.tirx.build(module, target=processor.llvm)
    built.write_to_file(str(folder / KERNELS), "o")


def link_library(folder: Path, processor: Processor) -> dict[str, str]:
    """policy.so from what lies in ``folder``; returns the manifest's tools."""
    (folder / "host_timing.c").write_text(c_template("host_timing.c"), encoding="utf-8")
    here = processor.machine == host.machine()
    compiler = host_compiler() if here else zig_compiler()
    flags = [*FLAGS, *(() if here else ("-target", LINUX)), "-fPIC"]
    sources = ["policy.c", "host_timing.c", KERNELS]
    compiler.run([*flags, "-shared", "-Wl,-Bsymbolic", "-o", "policy.so", *sources, "-lm"], folder)
    return {
        "compiler": compiler.version,
        "flags": " ".join(flags),
        "cpu_flags": " ".join(processor.cpu_flags),
        "binding": build_binding(folder, compiler) if here else "none: built for another machine",
    }


def link_firmware(folder: Path, target: Target) -> tuple[dict[str, str], dict[str, int]]:
    """firmware.elf from what lies in ``folder``; returns the manifest's tools and sizes (flash, ram)."""
    for name in ("harness.c", "startup.c"):
        (folder / name).write_text(c_template(name), encoding="utf-8")
    text = Template(template("math.c")).substitute(functions=definitions(["exp"], "exact"))
    (folder / "math.c").write_text(text, encoding="utf-8")
    (folder / "link.ld").write_text(Template(c_template("link.ld.in")).substitute(memory_map(target)), encoding="utf-8")
    return build_firmware(folder, target, more=("math.c", KERNELS))


def tool_versions() -> dict[str, Any]:
    """What built it, for artifact.json."""
    from importlib.metadata import version

    codegen = require("tvm.target.codegen", "tvm")
    return {
        "tvm": version("apache-tvm"),
        "tvm_ffi": version("apache-tvm-ffi"),
        "llvm": str(codegen.llvm_version_major()),
    }
