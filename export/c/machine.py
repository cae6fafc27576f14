"""What the generated code may count on: asked of the compiler itself, under the profile's own flags."""

from __future__ import annotations

import dataclasses
import tempfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

from ...errors import BadInput, MissingTool
from ...targets.profile import Target
from .toolchain import CompileError, Compiler, checked_flags, host_compiler, zig_compiler

Accuracy = Literal["exact", "fast"]


@dataclass(frozen=True)
class Machine:
    """One kind of processor, as far as kernels differ on it."""

    vector_floats: int = 1
    """float32 lanes of a vector register; 1: none, or none worth using."""
    fpu: bool = True
    """float32 arithmetic in hardware; without it a multiply-add takes a hundred cycles or more."""
    dsp: bool = False
    """Armv7E-M and Armv8-M DSP: SMLAD, two 16-bit multiply-adds in one cycle."""
    int8_dot: Literal["", "avx2", "vnni", "sdot"] = ""
    """Instruction that multiplies and adds small integers: vpmaddwd, vpdpbusd, or Arm's sdot."""
    accuracy: Accuracy = "exact"
    """Variant of the activation functions: every function states its error bound beside its code."""

    flash_bytes: int | None = None
    """Flash for everything; None: no limit that code for one layer could meet."""

    @property
    def vectors(self) -> bool:
        """Are there vector registers to fill?"""
        return self.vector_floats > 1


AVX512 = Machine(vector_floats=16, int8_dot="vnni")
AVX2 = Machine(vector_floats=8, int8_dot="avx2")
NEON = Machine(vector_floats=4, int8_dot="sdot")
CORTEX_M4F = Machine(dsp=True)
CORTEX_M0 = Machine(fpu=False)
"""Machines with a name, for tests and for reading."""


def crossed(target: Target) -> bool:
    """True where ``target`` is another machine than this one, and Zig compiles for it."""
    return target.link.kind == "virtual" or (target.link.kind != "local" and target.compile.triple != "")


def machine_for(target: Target, compiler: Compiler | None = None) -> Machine:
    """The machine that ``target``'s compiler flags describe.

    Raises MissingTool without the target's compiler, BadInput for flags that a profile may not use.
    """
    if compiler is None:
        compiler = zig_compiler() if crossed(target) else host_compiler()
    flags = list(checked_flags(target))
    if crossed(target):
        mcpu = [f"-mcpu={target.compile.mcpu}"] if target.compile.mcpu or target.link.kind == "virtual" else []
        flags = ["-target", target.compile.triple, *mcpu, *flags]
    try:
        defined = macros(compiler, tuple(flags))
    except CompileError as error:
        raise BadInput(
            f"target {target.name}, compile",
            expected="a triple, an mcpu and flags that the compiler knows",
            found=f"{target.compile.triple!r}, {target.compile.mcpu!r} and {' '.join(target.compile.flags)!r}",
            repair=str(error).splitlines()[-1].strip(),
        ) from error
    return dataclasses.replace(machine_of(defined, target.compile.accuracy), flash_bytes=target.memory.flash_bytes)


def machine_of(defined: frozenset[str], accuracy: Accuracy = "exact") -> Machine:
    """The machine behind a compiler's predefined macros."""
    dot: Literal["", "avx2", "vnni", "sdot"] = ""
    if {"__AVX512VNNI__", "__AVX512VL__"} <= defined:
        dot = "vnni"
    elif "__AVX2__" in defined:
        dot = "avx2"
    elif "__ARM_FEATURE_DOTPROD" in defined:
        dot = "sdot"
    if "__AVX512F__" in defined:
        lanes = 16
    elif "__AVX__" in defined:
        lanes = 8
    elif defined & {"__x86_64__", "__aarch64__", "__ARM_NEON"}:
        lanes = 4
    else:
        lanes = 1
    microcontroller = lanes == 1
    fpu = not microcontroller or bool(defined & {"__ARM_FP", "__riscv_flen", "__riscv_float_abi_single"})
    return Machine(lanes, fpu, microcontroller and "__ARM_FEATURE_DSP" in defined, dot, accuracy)


def width_flags(compiler: Compiler, flags: list[str]) -> list[str]:
    """What makes the compiler fill 512-bit registers where it may use them, unless the profile says how wide.

    GCC and clang prefer 256 bits on most of these processors: loops over activations then take twice the
    instructions, and dense loops left to the compiler take longer still.
    """
    if any(flag.startswith("-mprefer-vector-width") for flag in flags) or "__AVX512F__" not in macros(compiler, tuple(flags)):
        return []
    return ["-mprefer-vector-width=512"]


@lru_cache
def macros(compiler: Compiler, flags: tuple[str, ...]) -> frozenset[str]:
    """Names of what ``compiler`` predefines under ``flags``."""
    with tempfile.TemporaryDirectory() as folder:
        text = compiler.run([*flags, "-dM", "-E", "-x", "c", "-"], Path(folder))
    names = frozenset(line.split()[1].partition("(")[0] for line in text.splitlines() if line.startswith("#define "))
    if not names:
        raise MissingTool(f"{compiler.version} does not say what it predefines (-dM -E); is it a C compiler?")
    return names
