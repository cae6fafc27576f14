"""``pilotfish targets check``: does a profile make sense, and is everything here that it needs?"""

from __future__ import annotations

import importlib.util
import shutil
from typing import Literal, NamedTuple

from ..errors import MissingTool, PilotfishError
from . import host
from .profile import Target
from .reach import AgentLink, SshLink
from .virtual.cores import CORES, Core, find_core
from .virtual.cycles import find_table

Severity = Literal["ok", "warning", "error"]
C_COMPILERS = ("cc", "gcc", "clang")


class Finding(NamedTuple):
    """One thing that was checked."""

    severity: Severity
    message: str


def check_target(target: Target) -> list[Finding]:
    """Everything that can be said about ``target`` without building for it; an "error" means it cannot work here."""
    findings = _check_backends(target) + _check_compiler(target)
    if isinstance(target.link, SshLink | AgentLink):
        return findings + _check_computer(target, target.link)
    return findings + (_check_virtual(target) if target.link.kind == "virtual" else _check_local(target))


def _installed(*modules: str) -> list[str]:
    """The modules among ``modules`` that are missing."""
    return [name for name in modules if importlib.util.find_spec(name) is None]


def _check_backends(target: Target) -> list[Finding]:
    findings = []
    if target.link.kind == "virtual" and set(target.backends) - {"c", "tvm"}:
        findings.append(Finding("error", 'a virtual board runs only the tvm and the c back-end; set backends = ["c"]'))
    if len(set(target.backends)) < len(target.backends):
        findings.append(Finding("warning", "backends names one twice"))
    if "onnxruntime" in target.backends and target.link.kind == "local":
        missing = _installed("onnxruntime")
        findings.append(
            Finding("error", 'onnxruntime is not installed; run: pip install "pilotfish[ort]"')
            if missing
            else Finding("ok", "onnxruntime is installed")
        )
    if "tensorrt" in target.backends:
        findings.append(_check_tensorrt(target))
    if "tvm" in target.backends:
        findings.append(_check_tvm(target))
    return findings


def _check_tensorrt(target: Target) -> Finding:
    """Engine or kit? What can be told without loading TensorRT."""
    settings = target.tensorrt
    if settings is None:
        return Finding("error", "the tensorrt back-end needs a [tensorrt] part with the GPU's compute_capability")
    if host.machine() != f"{settings.host}-linux":
        return Finding("ok", f"not this machine ({settings.host}): a kit, which builds the engine on the device")
    here = [name for name in ("tensorrt_rtx", "tensorrt_rtx_bindings", "tensorrt") if not _installed(name)]
    if any(name.removesuffix("_bindings") in settings.flavours for name in here):
        return Finding("ok", f"TensorRT is installed: {', '.join(here)}")
    if "tensorrt_rtx" in settings.flavours:
        return Finding("error", 'TensorRT-RTX is not installed; run: pip install "pilotfish[tensorrt]"')
    return Finding("ok", "TensorRT is not installed here: a kit, which builds the engine on the device")


def _check_tvm(target: Target) -> Finding:
    """A warning only where the target has another back-end: its artifacts run without TVM, and its build needs 300 MB."""
    if not _installed("tvm"):
        return Finding("ok", "TVM is installed")
    severity: Severity = "ok" if len(target.backends) > 1 else "error"
    return Finding(severity, 'TVM is not installed; for the tvm back-end run: pip install "pilotfish[tvm]"')


def _check_compiler(target: Target) -> list[Finding]:
    if "c" not in target.backends:
        return []
    zig = not _installed("ziglang") or shutil.which("zig") is not None
    if target.compile.triple:
        if zig:
            return [Finding("ok", f"ziglang compiles for {target.compile.triple}")]
        return [Finding("error", f'no compiler for {target.compile.triple}; run: pip install "pilotfish[export]"')]
    found = next((name for name in C_COMPILERS if shutil.which(name)), None) or ("ziglang" if zig else None)
    if found:
        return [Finding("ok", f"C compiler: {found}")]
    return [Finding("error", 'no C compiler: install gcc or clang, or run: pip install "pilotfish[export]"')]


def _check_local(target: Target) -> list[Finding]:
    if target.cpu.isa != "native":
        return [Finding("error", f'a local target runs on this machine: cpu.isa must be "native", it is {target.cpu.isa!r}')]
    findings = [Finding("ok", f"this machine: {host.device_name()} ({host.machine()})")]
    if target.compile.triple:
        findings.append(Finding("warning", "compile.triple is set, although the target is this machine"))
    if target.cost:
        findings.append(Finding("warning", "a cost model is given, but latency will be measured here"))
    return findings


def _check_computer(target: Target, settings: SshLink | AgentLink) -> list[Finding]:
    """Does it answer, and is it the machine that is compiled for?"""
    from .links.open import open_link

    try:
        link = open_link(settings)
        try:
            device = link.device()
        finally:
            link.close()
    except PilotfishError as error:
        # A profile is not wrong because a device is switched off.
        return [Finding("error" if isinstance(error, MissingTool) else "warning", str(error))]
    findings = [Finding("ok", f"{link.name} answers: {device.name} ({device.machine})")]
    findings.append(Finding("ok", f"Python {device.python} there" if device.python else f"no Python there: {device.why}"))
    wanted = target.compile.triple.partition("-")[0] or host.machine().partition("-")[0]
    if "c" in target.backends and device.machine.partition("-")[0] != wanted:
        findings.append(Finding("error", f"the c back-end compiles for {wanted}; set compile.triple for {device.machine}"))
    return findings


def _check_virtual(target: Target) -> list[Finding]:
    findings = []
    missing = _installed("unicorn", "capstone", "elftools")
    findings.append(
        Finding("error", f'the emulator needs {", ".join(missing)}; run: pip install "pilotfish[emulate]"')
        if missing
        else Finding("ok", "the emulator is installed")
    )
    try:
        core = find_core(target.cpu.core)
        findings.append(Finding("ok", f"core {core.name}"))
        if target.compile.mcpu and target.compile.mcpu.partition("+")[0] not in core.mcpu:
            findings.append(
                Finding("error", f"compile.mcpu {target.compile.mcpu!r} is not for a {core.name}; use {core.mcpu[0]!r}")
            )
        findings += _check_instructions(target, core)
        hard = core.isa_name == "thumb" and target.compile.triple.endswith("hf")
        if hard and not core.fpu:
            findings.append(Finding("error", f"a {core.name} has no FPU: the triple must end in eabi, not eabihf"))
        if hard and "+" not in target.compile.mcpu and "-mfpu" not in " ".join(target.compile.flags):
            # zig leaves the FPU of a Cortex-M off unless it is named; the result works, and is 30 times slower.
            findings.append(
                Finding("warning", f"compile.mcpu {target.compile.mcpu!r} names no FPU, such as cortex_m4+vfp4d16sp: soft float")
            )
    except PilotfishError as error:
        findings.append(Finding("error", str(error)))
    if not target.compile.triple:
        findings.append(Finding("error", 'compile.triple is missing, such as "thumb-freestanding-eabihf"'))
    return findings + _check_memory(target) + _check_cost(target)


def _check_instructions(target: Target, core: Core) -> list[Finding]:
    """Does the compiler's target name the core's instruction set?"""
    triple, mcpu = target.compile.triple, target.compile.mcpu
    if triple and not triple.startswith(core.isa.triples):
        return [
            Finding("error", f"compile.triple {triple!r} is not for a {core.name}; it must begin with {core.isa.triples[0]!r}")
        ]
    if core.isa_name != "riscv32":
        return []
    extensions, single = mcpu.split("+")[1:], "-mabi=ilp32f" in target.compile.flags
    if {"f", "d"} & set(extensions) and not core.fpu:
        return [Finding("error", f"a {core.name} has no FPU: compile.mcpu {mcpu!r} must not name f or d")]
    if core.fpu and not ("f" in extensions and single):
        return [Finding("warning", f"compile.mcpu {mcpu!r} names no f, or flags lack -mabi=ilp32f: soft float")]
    return []


def _check_memory(target: Target) -> list[Finding]:
    memory = target.memory
    if memory.flash_bytes is None or memory.ram_bytes is None:
        return [Finding("error", "a virtual board needs memory.flash_bytes and memory.ram_bytes")]
    flash_stop, ram_stop = memory.flash_origin + memory.flash_bytes, memory.ram_origin + memory.ram_bytes
    findings = []
    if memory.flash_origin < ram_stop and memory.ram_origin < flash_stop:
        findings.append(Finding("error", "flash and RAM overlap"))
    page = CORES[target.cpu.core].isa.page if target.cpu.core in CORES else 1024
    if any(value % page for value in (memory.flash_bytes, memory.ram_bytes, memory.flash_origin, memory.ram_origin)):
        findings.append(Finding("error", f"memory sizes and origins must be multiples of {page} bytes"))
    return findings or [Finding("ok", f"{memory.flash_bytes >> 10} KiB of flash, {memory.ram_bytes >> 10} KiB of RAM")]


def _check_cost(target: Target) -> list[Finding]:
    if target.cost is None:
        return [Finding("warning", "no [cost]: instructions will be counted, cycles and latency not estimated")]
    findings = []
    if target.cost.cpi:
        low, typical, high = target.cost.cpi
        findings.append(Finding("ok", f"{typical:g} ({low:g} to {high:g}) cycles per instruction, after {target.cost.source}"))
    else:
        try:
            table = find_table(target.cost.table)
            findings.append(Finding("ok", f"cycle table {table.name}" + (f" ({table.note})" if table.note else "")))
        except PilotfishError as error:
            findings.append(Finding("error", str(error)))
    if target.cpu.clock_hz is None:
        findings.append(Finding("error", "cpu.clock_hz is missing: cycles cannot become microseconds"))
    if target.cost.flash_wait_states and not target.cost.data_lines:
        findings.append(Finding("ok", "no data cache: every read from flash waits"))
    return findings
