"""Cortex-M7: dual issue, in order. Arm publishes no cycle table; this is what others measured, as pipeline rules.

[L] LLVM's ARMScheduleM7.td: two ALUs, two load pipes, one store, one multiplier, one VFP, one SIMD unit, one early shifter;
    which instructions pair, when operands are read, latencies.
[J] jnk0le/random, "pipeline cycle test": measured on an STM32H743; where both speak, its measurement is taken.
Not modelled: mispredicted branches (6 to 8 cycles [J]), bank conflicts of two loads, the store buffer, unaligned loads.
"""

from __future__ import annotations

from .decode import ADDS_LAST, ADDS_LONG, FP_LOADS, FP_STORES, LOADS, MULTIPLY_ACCUMULATE, STORES, Instruction
from .pipeline import Pipeline, Timing

UNITS = {"alu": 2, "load": 2, "store": 1, "mac": 1, "shift": 1, "simd": 1, "branch": 1, "vfp": 1, "vport": 2}  # [L]
# [J] a predicted taken branch can share its cycle with the instruction at its destination, and need not.
REFILL = (0, 0, 1)
MULTIPLIES = (
    frozenset({"mul", "muls", "smull", "umull", "smuad", "smuadx", "smusd", "smusdx", "smmul", "smmulr"}) | ADDS_LAST | ADDS_LONG
)
SIMD = frozenset({"uxtb", "uxth", "sxtb", "sxth", "uxtb16", "sxtb16", "sel", "clz"})
SHIFTING = frozenset({"ubfx", "sbfx", "bfi", "bfc", "rbit", "rev", "rev16", "revsh", "pkhbt", "pkhtb", "ssat", "usat"})
EXTEND_ADD = frozenset({f"{sign}xta{kind}" for sign in "su" for kind in ("b", "h", "b16")})
MULTIPLE = frozenset({"push", "pop", "ldm", "ldmdb", "stm", "stmdb", "vpush", "vpop", "vldmia", "vldmdb", "vstmia", "vstmdb"})
SIMPLE = frozenset({"add", "addw", "adds", "sub", "subw", "subs", "mov", "movs", "movw", "movt", "mvn"})
SHIFTS = frozenset({"lsl", "lsr", "asr", "ror", "rrx"})


def timing(instruction: Instruction) -> Timing:
    """What ``instruction`` asks of the pipeline."""
    name = instruction.name
    if name[0] == "v":
        return _floating(instruction)
    if name in LOADS:
        # [L] byte and halfword loads take a cycle longer; [J] a word reaches an ALU in the next cycle.
        slow = name not in ("ldr", "ldrt")
        return Timing(("load",), 2 if slow else 1, early=instruction.base, loads=True)
    if name in STORES:
        return Timing(("store",), 1, early=instruction.base, late=instruction.reads - instruction.base)
    if name in ("ldrd", "strd"):
        loads = name == "ldrd"
        late = frozenset() if loads else instruction.reads - instruction.base
        return Timing(("load" if loads else "store",), 1, alone=True, early=instruction.base, late=late, loads=loads)
    if name in MULTIPLE:
        # [J] ceil(N / 2), never paired.
        return Timing(("load",), 1, cycles=max(1, (instruction.count + 1) // 2), alone=True, early=instruction.base, loads=True)
    if name in MULTIPLIES or name.startswith(("smul", "smla", "smls")):
        return Timing(("mac",), 2, addend_advance=1, multiplies=True)  # [L] latency 2, the addend is read one later
    if name in ("sdiv", "udiv"):
        return Timing(("alu",), 1, cycles=7, alone=True)  # [L] stalls for its latency
    if name in ("tbb", "tbh"):
        return Timing(("load",), cycles=2, alone=True, early=instruction.base)  # [L]
    if instruction.branches:
        return Timing(("branch",), 1)
    if name in ("mrs", "msr", "dsb", "dmb", "isb"):
        return Timing(("alu",), 3, alone=True)  # [L]
    if name in EXTEND_ADD or name in SHIFTING:
        return Timing(("alu", "simd", "shift"), 1, older=True, early=instruction.reads if name in SHIFTING else frozenset())
    if name in SIMD or name.startswith(("q", "uq", "sadd", "ssub", "uadd", "usub", "shadd", "uhadd")):
        return Timing(("alu", "simd"), 2 if name[0] == "q" else 1, older=True)
    if name in SHIFTS or instruction.shifted:
        early = frozenset() if name in SHIFTS else instruction.reads
        return Timing(("alu", "shift"), 1, early=early, forwards_early=name in SHIFTS)
    if name in ("nop", "it"):
        return Timing(("any",), 0)
    return Timing(("alu",), 1, forwards_early=name in SIMPLE)


def _floating(instruction: Instruction) -> Timing:
    name = instruction.name
    if name in FP_LOADS:
        if instruction.double:
            return Timing(("load", "load", "vport", "vport"), 2, alone=True, early=instruction.base, float_kind="other")
        return Timing(("load", "vport"), 1, early=instruction.base, float_kind="move")
    if name in FP_STORES:
        late = instruction.reads - instruction.base
        kind = "other" if instruction.double else "move"
        return Timing(("store", "vport"), 1, alone=instruction.double, early=instruction.base, late=late, float_kind=kind)
    if name in MULTIPLE:
        cycles = max(1, (instruction.count + 1) // 2)
        return Timing(("load",), 1, cycles=cycles, alone=True, early=instruction.base, float_kind="other")
    if name in MULTIPLY_ACCUMULATE:
        fused = name.startswith(("vfm", "vfnm"))
        # [L] [J] 5 fused, 6 chained, 3 to the next addend; afterwards, for three cycles, no addition and no load or store of
        # several registers, and no single load, store or move as the second of a pair [J].
        latency, advance = (5, 2) if fused else (6, 3)
        if instruction.double:
            return Timing(("vfp", "vport", "vport"), 3, cycles=7, alone=True, float_kind="mac")  # [J] 7 or more
        return Timing(("vfp", "vport"), latency, addend_advance=advance, float_kind="mac", blocks_float=4)
    if name in ("vdiv", "vsqrt"):
        cycles = (30 if instruction.double else 16) if name == "vdiv" else (30 if instruction.double else 14)  # [J]
        return Timing(("vfp", "vport"), 1, cycles=cycles, alone=True, float_kind="other")
    if name == "vmrs":
        return Timing(("vfp", "vport"), 1, alone=True)  # [L]
    if name == "vmov":
        constant = not instruction.reads
        kind = "other" if constant else "move"
        return Timing(("vport",), 3, alone=len(instruction.writes | instruction.reads) > 2, float_kind=kind)
    cycles = 5 if instruction.double and name in ("vmul", "vnmul") else 1  # [J]
    return Timing(("vfp", "vport"), 3, cycles=cycles, older=instruction.double, float_kind="other")


def pairs(first: Instruction, second: Instruction, taken: bool) -> bool:
    """Any two that the units allow, unless the second reads what the first writes (but for data to be stored).

    [J] a floating-point multiply-accumulate pairs with no load, store or move of floats.
    """
    del taken
    kinds = {timing(first).float_kind, timing(second).float_kind}
    if "mac" in kinds and kinds & {"move", "other"}:
        return False
    needs = second.reads | second.addend
    if second.name in STORES or second.name in FP_STORES:
        needs = second.base
    return not first.writes & needs and not first.writes & second.writes - {"cpsr"}


PIPELINE = Pipeline(timing, {**UNITS, "any": 2}, pairs, REFILL)
