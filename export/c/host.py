"""policy.c -> policy.so for the machine at hand, and which CPU extensions the compiler was allowed to use."""

from __future__ import annotations

from pathlib import Path

from ...targets.profile import Target
from .binding import build_binding
from .machine import width_flags
from .toolchain import BASE_FLAGS, Compiler, checked_flags, host_compiler

CPU_MACROS = {
    "__SSE3__": "pni",
    "__SSSE3__": "ssse3",
    "__SSE4_1__": "sse4_1",
    "__SSE4_2__": "sse4_2",
    "__F16C__": "f16c",
    "__AVX__": "avx",
    "__AVX2__": "avx2",
    "__FMA__": "fma",
    "__FMA4__": "fma4",
    "__XOP__": "xop",
    "__POPCNT__": "popcnt",
    "__LZCNT__": "abm",
    "__MOVBE__": "movbe",
    "__BMI__": "bmi1",
    "__BMI2__": "bmi2",
    "__AVX512F__": "avx512f",
    "__AVX512VL__": "avx512vl",
    "__AVX512DQ__": "avx512dq",
    "__AVX512BW__": "avx512bw",
    "__AVX512CD__": "avx512cd",
    "__AVX512IFMA__": "avx512ifma",
    "__AVX512VBMI__": "avx512vbmi",
    "__AVX512VBMI2__": "avx512_vbmi2",
    "__AVX512VNNI__": "avx512_vnni",
    "__AVX512BITALG__": "avx512_bitalg",
    "__AVX512VPOPCNTDQ__": "avx512_vpopcntdq",
    "__AVX512BF16__": "avx512_bf16",
    "__AVX512FP16__": "avx512_fp16",
    "__AVXVNNI__": "avx_vnni",
    "__GFNI__": "gfni",
    "__VAES__": "vaes",
    "__VPCLMULQDQ__": "vpclmulqdq",
    "__ARM_FEATURE_ATOMICS": "atomics",
    "__ARM_FEATURE_FP16_VECTOR_ARITHMETIC": "asimdhp",
    "__ARM_FEATURE_QRDMX": "asimdrdm",
    "__ARM_FEATURE_DOTPROD": "asimddp",
    "__ARM_FEATURE_SVE": "sve",
    "__ARM_FEATURE_SVE2": "sve2",
    "__ARM_FEATURE_MATMUL_INT8": "i8mm",
    "__ARM_FEATURE_BF16": "bf16",
}
"""Macro that says "the compiler may use it" -> the flag's name in /proc/cpuinfo (x86: flags, Arm: Features).

x86 names as in Linux's arch/x86/include/asm/cpufeatures.h, where a quoted comment overrides the macro's name. LZCNT
is in it because an older CPU reads that instruction as BSR and computes something else, without a fault.
"""


def build_library(folder: Path, target: Target, compiler: Compiler | None = None, more: tuple[str, ...] = ()) -> dict[str, str]:
    """Compile policy.c, host_timing.c and ``more`` in ``folder`` to policy.so, and the binding; returns the manifest's tools.

    ``cpu_flags`` names the extensions that the processor must have to run it, so that another machine can refuse;
    ``binding`` says what the CPython extension needs, or why there is none.
    """
    compiler = compiler or host_compiler()
    flags = [*BASE_FLAGS, *checked_flags(target)]
    flags += width_flags(compiler, flags)
    # -Bsymbolic: host_timing.c times this library's policy, whatever else is loaded.
    arguments = [*flags, "-fPIC", "-shared", "-Wl,-Bsymbolic", "-o", "policy.so", "policy.c", "host_timing.c", *more]
    compiler.run(arguments, folder)
    return {
        "compiler": compiler.version,
        "flags": " ".join(flags),
        "cpu_flags": " ".join(cpu_flags(compiler, flags, folder)),
        "binding": build_binding(folder, compiler),
    }


def cpu_flags(compiler: Compiler, flags: list[str], folder: Path) -> list[str]:
    """The CPU extensions that ``compiler`` may use under ``flags``, by their /proc/cpuinfo names."""
    defined = {
        line.split()[1]
        for line in compiler.run([*flags, "-dM", "-E", "-x", "c", "-"], folder).splitlines()
        if line.count(" ") > 0
    }
    return [flag for macro, flag in CPU_MACROS.items() if macro in defined]
