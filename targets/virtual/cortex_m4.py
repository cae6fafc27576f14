"""Cortex-M4 and its FPU: cycles of each instruction at zero wait states, every number with its source.

[T] Arm 100166 (Cortex-M4 Technical Reference Manual r0p1), table 3-1, processor instructions.
[F] Same manual's FPU table, as reprinted in TI SWCU192, table 3-27.
[P] "Instruction pairing", as reprinted in TI SWCU185, section 3 (and Arm DDI 0337I for the Cortex-M3).
[H] FPU result hazards: the sentence of the same manual that Electronics Stack Exchange 544886 quotes.
[A] Alignment of 32-bit instructions, as measured: compendium.i-0.nl/docs/instruction-alignment/rules (an STM32, the part is
    not named), and jnk0le/random, "pipeline cycle test", cortex_m3m4.md (STM32F103 and STM32F407).
"""

from __future__ import annotations

from .decode import FP_LOADS, FP_STORES, LOADS, MULTIPLY_ACCUMULATE, STORES, Instruction

# [T] P: "ranges from 1 to 3 depending on the alignment and width of the target instruction, and whether
# the processor manages to speculate the address early".
REFILL = (1, 2, 3)

# Everything that is not named here costs one cycle [T]: data processing, multiply (MLA and the long and
# dual ones included), saturation, extension, bit fields, IT, NOP; a branch adds REFILL when it is taken.
FIXED: dict[str, tuple[int, int, int]] = {
    "sdiv": (2, 7, 12),  # [T] 2 to 12, by leading zeros; typical: the middle
    "udiv": (2, 7, 12),
    "ldrd": (3, 3, 3),  # [T] 1 + N; [P] never pipelined
    "strd": (3, 3, 3),
    "tbb": (2, 2, 2),  # [T] 2 + P
    "tbh": (2, 2, 2),
    "ldrex": (2, 2, 2),  # [T]
    "strex": (2, 2, 2),
    "mrs": (1, 1, 2),  # [T] 1 or 2
    "msr": (1, 1, 2),
    "dsb": (1, 1, 4),  # [T] "B": as long as the barrier takes; a guess for the high end
    "dmb": (1, 1, 4),
    "isb": (2, 3, 4),  # [T] at least a pipeline refill
    "vdiv": (14, 14, 14),  # [F]
    "vsqrt": (14, 14, 14),  # [F]
    "vmla": (3, 3, 3),  # [F] chained and fused alike
    "vmls": (3, 3, 3),
    "vnmla": (3, 3, 3),
    "vnmls": (3, 3, 3),
    "vfma": (3, 3, 3),
    "vfms": (3, 3, 3),
    "vfnma": (3, 3, 3),
    "vfnms": (3, 3, 3),
}
CORE_REGISTERS = frozenset({*(f"r{n}" for n in range(13)), "sb", "sl", "fp", "ip", "sp", "lr"})
MULTIPLE = frozenset(
    {"push", "pop", "ldm", "ldmdb", "stm", "stmdb", "vpush", "vpop", "vldmia", "vldmdb", "vstmia", "vstmdb"}
)  # [T] [F] 1 + N words
# [H] "add, subtract, multiply, divide, square-root, all forms of multiply with accumulate, as well as
# conversions of all types take one cycle longer if their result is consumed by the following instruction"
FP_ARITHMETIC = frozenset({"vadd", "vsub", "vmul", "vnmul", "vdiv", "vsqrt", "vcvt", "vcvtr"}) | {
    name for name in MULTIPLY_ACCUMULATE if name[0] == "v"
}
CORE_LOADS_AND_STORES = LOADS | STORES
MEMORY = CORE_LOADS_AND_STORES | FP_LOADS | FP_STORES | MULTIPLE | {"ldrd", "strd", "ldrex", "strex", "tbb", "tbh"}


def cost(instruction: Instruction, before: Instruction | None) -> tuple[int, int, int]:
    """(low, typical, high) cycles of ``instruction`` after ``before``, without the refill of a taken branch."""
    name = instruction.name
    if name in FIXED:
        low, typical, high = FIXED[name]
    elif name in LOADS or name in STORES or name in FP_LOADS or name in FP_STORES:
        low, typical, high = _load_or_store(instruction, before)
    elif name in MULTIPLE:
        low = typical = high = 1 + instruction.count
    elif name == "vmov" and CORE_REGISTERS & (instruction.reads | instruction.writes):
        low = typical = high = 2  # [F] one float, or two, to or from core registers
    elif name == "it":
        # [T] IT can fold onto a preceding 16-bit instruction and then costs nothing.
        folds = before is not None and before.size == 2
        low, typical, high = (0, 0, 1) if folds else (1, 1, 1)
    else:
        low = typical = high = 1
    if before is not None:
        if name in MEMORY and _computed(before) & instruction.base:
            # [P] an address that depends on the preceding data-processing result: one more, no forwarding path.
            low, typical, high = low + 1, typical + 1, high + 1
        if before.name in FP_ARITHMETIC and before.writes & instruction.reads:
            typical, high = typical + 1, high + 1  # [H]; low: the result is never waited for
    if instruction.predicated:
        low = min(low, 1)  # skipped when its condition is false
    return low, typical, high


def fetch_stalls(block: tuple[Instruction, ...], entered_by_branch: bool) -> int:
    """Cycles lost to 32-bit instructions that straddle two words, even where memory has no wait states [A].

    The core fetches a word at a time. One cycle each for: a branch to such an instruction; a run of three of them, or of
    four stores; such a load straight after another load, which then is not pipelined.
    """
    stalls = int(entered_by_branch and _straddles(block[0]))
    run = 0
    stores = True
    before: Instruction | None = None
    for instruction in block:
        if not _straddles(instruction):
            run, stores = 0, True
        else:
            run += 1
            stores = stores and instruction.name in STORES
            stalls += run == (4 if stores else 3)
            loads = instruction.name in LOADS and before is not None and before.name in LOADS
            stalls += loads and before is not None and not before.writes & instruction.base
        before = instruction
    return stalls


def _straddles(instruction: Instruction) -> bool:
    return instruction.size == 4 and instruction.address % 4 == 2


def _load_or_store(instruction: Instruction, before: Instruction | None) -> tuple[int, int, int]:
    name = instruction.name
    if name in STORES and not instruction.indexed:
        return 1, 1, 1  # [P] "STR Rx,[Ry,#imm] is always one cycle"
    if name in FP_LOADS or name in FP_STORES:
        full = 3 if instruction.double else 2  # [F]
    else:
        full = 2  # [T]
    # [P] after an LDR, a load or store whose address does not need the loaded value costs one less;
    # nothing is pipelined after a store.
    follows_load = (
        before is not None and before.name in (LOADS | FP_LOADS) and not before.branches and not before.writes & instruction.base
    )
    low = typical = full - 1 if follows_load else full
    # Arm says LDR, not VLDR: the high end takes it at its word. A literal load "might add a cycle" [P].
    core = name in CORE_LOADS_AND_STORES and before is not None and before.name in CORE_LOADS_AND_STORES
    high = (full - 1 if follows_load and core else full) + (1 if instruction.literal else 0)
    return low, typical, high


def _computed(before: Instruction) -> frozenset[str]:
    """Core registers that a data-processing instruction has just written."""
    if before.name in MEMORY or before.name[0] == "v":
        return frozenset()
    return before.writes
