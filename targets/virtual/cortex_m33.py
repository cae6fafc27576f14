"""Cortex-M33: one instruction a cycle, with a few pairs. Arm publishes no cycle table; this is what others measured.

[J] jnk0le/random, "pipeline cycle test", cortex_m33.md: measured on an RP2350 (Cortex-M33 r1p0).
[4] Where it says nothing, the Cortex-M4's number (its file names the manual): division, floating-point division and
    square root, moves between register files, the result of a floating-point operation.
"""

from __future__ import annotations

from . import cortex_m4
from .cortex_m7 import EXTEND_ADD, MULTIPLE, MULTIPLIES
from .decode import FP_LOADS, FP_STORES, LOADS, MULTIPLY_ACCUMULATE, STORES, Instruction
from .pipeline import Pipeline, Timing

# [J] a taken branch takes two cycles, or one where a 16-bit instruction that sets no flags came before it: it pairs then.
REFILL = (1, 1, 2)


def timing(instruction: Instruction) -> Timing:
    """What ``instruction`` asks of the pipeline."""
    name = instruction.name
    if name[0] == "v":
        return _floating(instruction)
    if name in LOADS:
        return Timing(("load",), 2, loads=True)  # [J] load to use 2, to an addend or to a store 1
    if name in STORES:
        return Timing(("store",), 1, late=instruction.reads - instruction.base)
    if name in ("ldrd", "strd"):
        return Timing(("load" if name == "ldrd" else "store",), 2, cycles=2, loads=name == "ldrd")  # [J]
    if name in MULTIPLE:
        return Timing(("load",), 2, cycles=max(1, instruction.count), loads=True)  # [J] exactly N
    if name in MULTIPLIES or name in EXTEND_ADD or name.startswith(("smul", "smla", "smls")):
        cycles = 2 if name == "mul" and instruction.size == 2 else 1  # [J] muls.n sets flags and takes 2
        return Timing(("mac",), 2, cycles=cycles, addend_advance=1)
    if instruction.shifted:
        return Timing(("alu",), 2)  # [J]
    if name in cortex_m4.FIXED:
        return Timing(("alu",), 1, cycles=cortex_m4.FIXED[name][1])  # [4]
    if instruction.branches:
        return Timing(("branch",), 1)
    return Timing(("alu",), 1)


def _floating(instruction: Instruction) -> Timing:
    name = instruction.name
    wide = 2 if instruction.double else 1
    if name in FP_LOADS:
        return Timing(("load",), 2, cycles=wide, loads=True)
    if name in FP_STORES:
        return Timing(("store",), 1, cycles=wide, late=instruction.reads - instruction.base)
    if name in MULTIPLE:
        return Timing(("load",), 2, cycles=max(1, instruction.count), loads=True)
    if name in MULTIPLY_ACCUMULATE:
        return Timing(("vfp",), 3, float_kind="other", blocks_float=3)  # [J] nothing else floats for two cycles
    if name in cortex_m4.FIXED:
        return Timing(("vfp",), 1, cycles=cortex_m4.FIXED[name][1], float_kind="other")  # [4] VDIV, VSQRT
    if name == "vmov" and cortex_m4.CORE_REGISTERS & (instruction.reads | instruction.writes):
        return Timing(("vfp",), 1, cycles=2, float_kind="other")  # [4]
    return Timing(("vfp",), 2, float_kind="other")  # [4] one cycle longer if the next instruction needs it


def pairs(first: Instruction, second: Instruction, taken: bool) -> bool:
    """[J] IT behind anything; a 16-bit branch behind a 16-bit instruction, if not taken or if that set no flags; NOPs."""
    if second.name == "it":
        return True
    if first.size != 2 or second.size != 2:
        return False
    if second.branches and second.name == "b":
        return not taken or not first.sets_flags
    return first.name == "nop"


UNITS = {"alu": 2, "load": 1, "store": 1, "mac": 1, "branch": 1, "vfp": 1, "any": 2}
PIPELINE = Pipeline(timing, UNITS, pairs, REFILL)
