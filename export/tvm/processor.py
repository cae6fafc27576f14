"""Which processor TVM compiles for, and which of its features a machine must have to run the result."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from ...errors import BadInput, Unsupported, require
from ...targets import host
from ...targets.profile import Target
from ..c.toolchain import checked_flags

X86_FEATURES = {
    "sse3": "pni",
    "ssse3": "ssse3",
    "sse4.1": "sse4_1",
    "sse4.2": "sse4_2",
    "popcnt": "popcnt",
    "avx": "avx",
    "avx2": "avx2",
    "fma": "fma",
    "f16c": "f16c",
    "bmi": "bmi1",
    "bmi2": "bmi2",
    "lzcnt": "abm",
    "movbe": "movbe",
    "fma4": "fma4",
    "xop": "xop",
    "avx512f": "avx512f",
    "avx512vl": "avx512vl",
    "avx512dq": "avx512dq",
    "avx512bw": "avx512bw",
    "avx512cd": "avx512cd",
    "avx512ifma": "avx512ifma",
    "avx512vbmi": "avx512vbmi",
    "avx512vbmi2": "avx512_vbmi2",
    "avx512vnni": "avx512_vnni",
    "avx512bitalg": "avx512_bitalg",
    "avx512vpopcntdq": "avx512_vpopcntdq",
    "avx512bf16": "avx512_bf16",
    "avx512fp16": "avx512_fp16",
    "avxvnni": "avx_vnni",
    "gfni": "gfni",
    "vaes": "vaes",
    "vpclmulqdq": "vpclmulqdq",
}
"""LLVM's name of a feature that code for floating-point policies may use -> its flag in /proc/cpuinfo."""
ARM_FEATURES = {
    "lse": "atomics",
    "fullfp16": "asimdhp",
    "rdm": "asimdrdm",
    "dotprod": "asimddp",
    "sve": "sve",
    "sve2": "sve2",
    "i8mm": "i8mm",
    "bf16": "bf16",
}
"""The same for AArch64, where Linux writes Features."""
_CPU = re.compile(r"-m(?:arch|cpu)=([A-Za-z0-9_.\-]+)")


@dataclass(frozen=True)
class Processor:
    """What TVM's code generator is told."""

    llvm: Any
    """tvm.target.Target."""
    vector_floats: int
    """float32 lanes of a vector register."""
    cpu_flags: tuple[str, ...]
    """Extensions that the code may use, by their /proc/cpuinfo names."""
    machine: str
    """Machine that the library runs on, such as "aarch64-linux"."""

    @property
    def is_this_machine(self) -> bool:
        """True where what is compiled can be run, and timed, here."""
        return self.machine == host.machine() and set(self.cpu_flags) <= host.cpu_flags()


def processor_for(target: Target) -> Processor:
    """The processor that the profile describes: the machine at hand, or an AArch64 by its triple and core.

    Raises Unsupported for other instruction sets, BadInput for a CPU that LLVM does not know, MissingTool without TVM.
    """
    tvm = require("tvm", "tvm")
    codegen = require("tvm.target.codegen", "tvm")
    named = _named_cpu(target)
    away = target.cpu.isa == "aarch64" or (target.tvm is not None and target.tvm.host not in ("", host.machine().split("-")[0]))
    if away:
        triple, machine = "aarch64-linux-gnu", "aarch64-linux"
        cpu = named or target.cpu.core or "generic"
    elif target.cpu.isa == "native":
        triple = codegen.llvm_get_system_triple()
        cpu = named or codegen.llvm_get_system_cpu()
        machine = host.machine()
    else:
        raise Unsupported(
            f"target {target.name}, cpu.isa", expected='"native" or "aarch64" for the tvm back-end', found=repr(target.cpu.isa)
        )
    plain = tvm.target.Target({"kind": "llvm", "mtriple": triple})
    if cpu not in {str(name) for name in codegen.llvm_get_cpu_archlist(plain)}:
        raise BadInput(f"target {target.name}", expected=f"a CPU that LLVM knows for {triple}", found=repr(cpu))
    known = ARM_FEATURES if machine.startswith("aarch64") else X86_FEATURES
    options: dict[str, Any] = {"kind": "llvm", "mtriple": triple, "mcpu": cpu, "num-cores": 1}
    has = _features(codegen, tvm.target.Target(options))
    here = host.cpu_flags()
    if not away and not named and here:
        # A virtual machine may hide what LLVM takes for granted of the processor's model.
        hidden = sorted(name for name in has & set(known) if known[name] not in here)
        if hidden:
            options["mattr"] = [f"-{name}" for name in hidden]
            has -= set(hidden)
    if machine.startswith("aarch64"):
        options["mattr"] = ["+neon"]
    lanes = 4 if machine.startswith("aarch64") or "avx" not in has else 16 if "avx512f" in has else 8
    return Processor(tvm.target.Target(options), lanes, tuple(sorted(known[name] for name in has if name in known)), machine)


def _named_cpu(target: Target) -> str:
    """The CPU that the profile names, in LLVM's spelling; "": none."""
    if target.tvm is not None and target.tvm.cpu:
        return target.tvm.cpu
    flags = checked_flags(target)
    names = [match.group(1) for flag in flags if (match := _CPU.fullmatch(flag))]
    name = target.compile.mcpu.partition("+")[0].replace("_", "-") or next((n for n in reversed(names)), "")
    return "" if name == "native" else name


def _features(codegen: Any, target: Any) -> set[str]:
    return {str(name) for name in codegen.llvm_get_cpu_features(target)}
