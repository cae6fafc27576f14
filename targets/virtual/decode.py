"""Thumb code, decoded once per distinct block into what a cost table asks about."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ...errors import Unreachable, require

LOADS = frozenset({"ldr", "ldrb", "ldrh", "ldrsb", "ldrsh", "ldrt", "ldrbt", "ldrht"})
STORES = frozenset({"str", "strb", "strh", "strt", "strbt", "strht"})
FP_LOADS, FP_STORES = frozenset({"vldr"}), frozenset({"vstr"})


@dataclass(frozen=True)
class Instruction:
    """One decoded instruction; register names as capstone writes them, d registers as their two s halves."""

    address: int
    size: int
    name: str
    """Base mnemonic: "add" for "addne.w"."""
    text: str
    """As disassembled."""
    predicated: bool = False
    """Inside an IT block: executes, or is skipped at the cost of one cycle."""
    branches: bool = False
    """May set the program counter."""
    count: int = 0
    """Registers in its list (LDM, PUSH, VPOP …), doubles counted as two."""
    double: bool = False
    """Works on 64-bit floating-point registers."""
    base: frozenset[str] = field(default_factory=frozenset)
    """Core registers that form its address."""
    indexed: bool = False
    """The address has a register offset."""
    literal: bool = False
    """Reads relative to the program counter."""
    reads: frozenset[str] = field(default_factory=frozenset)
    """Registers it reads, without the addend of a multiply-accumulate."""
    writes: frozenset[str] = field(default_factory=frozenset)
    """Registers it writes."""
    addend: frozenset[str] = field(default_factory=frozenset)
    """Registers that a multiply-accumulate adds to."""
    shifted: bool = False
    """An operand is shifted or rotated on the way."""
    writeback: bool = False
    """Its address register is changed too."""
    sets_flags: bool = False
    """It changes the condition flags."""


class Decoder:
    """Decodes Thumb code of M-class cores with capstone."""

    def __init__(self) -> None:
        self._arm: Any = require("capstone.arm", "emulate")
        capstone: Any = require("capstone", "emulate")
        mode = capstone.CS_MODE_THUMB | capstone.CS_MODE_MCLASS | capstone.CS_MODE_V8
        self._engine = capstone.Cs(capstone.CS_ARCH_ARM, mode)
        self._engine.detail = True

    def block(self, code: bytes, address: int) -> tuple[Instruction, ...]:
        """Decode all of ``code``, which the emulator has executed at ``address``."""
        instructions = tuple(self._instruction(raw) for raw in self._engine.disasm(code, address))
        decoded = sum(i.size for i in instructions)
        if decoded != len(code):
            raise Unreachable(
                f"the cycle model cannot decode the instruction bytes {code[decoded : decoded + 4].hex()} "
                f"at {address + decoded:#x}, although the emulator executed them; please report this"
            )
        return instructions

    def _instruction(self, raw: Any) -> Instruction:
        arm = self._arm
        name = raw.insn_name()
        # capstone names two encodings by their pre-UAL mnemonics.
        name = {"fconsts": "vmov", "fconstd": "vmov", "fmstat": "vmrs"}.get(name, name)
        if raw.mnemonic.startswith("nop"):
            name = "nop"  # capstone names its encoding space: hint
        read, written = raw.regs_access()
        reads, writes = self._names(raw, read), self._names(raw, written)
        base: frozenset[str] = frozenset()
        indexed = False
        count = 0
        double = False
        for position, operand in enumerate(raw.operands):
            if operand.type == arm.ARM_OP_MEM:
                base = self._names(raw, [r for r in (operand.mem.base, operand.mem.index) if r])
                indexed = operand.mem.index != 0
            elif operand.type == arm.ARM_OP_REG:
                wide = raw.reg_name(operand.reg).startswith("d")
                double |= wide
                count += 2 if wide else 1
                if position == 0 and name[0] == "v" and not name.startswith(("vpush", "vpop", "vstm", "vldm", "vcmp", "vstr")):
                    writes |= self._names(raw, [operand.reg])
        if name in ("vldmia", "vldmdb", "vstmia", "vstmdb", "ldm", "ldmdb", "stm", "stmdb"):
            count -= 1  # the base register is the first operand
        if name in ("vpush", "vstmia", "vstmdb"):
            # capstone lists what a store reads as written too.
            writes = frozenset(r for r in writes if not r.startswith("s") or r == "sp")
        listed = self._names(raw, [operand.reg for operand in raw.operands if operand.type == arm.ARM_OP_REG])
        # capstone leaves out the registers of a list, and the second source of these.
        if name in ("vldmia", "vldmdb", "vpop"):
            writes |= frozenset(r for r in listed if r[0] == "s" and r != "sp")
        elif name in ("vstmia", "vstmdb"):
            reads |= listed
        elif name in SECOND_SOURCE:
            reads |= self._names(raw, [operand.reg for operand in raw.operands[1:] if operand.type == arm.ARM_OP_REG])
        addend: frozenset[str] = frozenset()
        if name in MULTIPLY_ACCUMULATE and name[0] == "v":
            # The addend is read one cycle later than the factors: only the factors can wait for a result.
            reads = self._names(raw, [operand.reg for operand in raw.operands[1:]])
            addend = self._names(raw, [raw.operands[0].reg])
        elif name in ADDS_LONG:
            addend = self._names(raw, [operand.reg for operand in raw.operands[:2]])
        elif name in ADDS_LAST and len(raw.operands) == 4:
            reads = self._names(raw, [operand.reg for operand in raw.operands[1:3]])
            addend = self._names(raw, [raw.operands[3].reg])
        return Instruction(
            address=raw.address,
            size=raw.size,
            name=name,
            text=f"{raw.mnemonic} {raw.op_str}".strip(),
            predicated=raw.cc not in (arm.ARM_CC_INVALID, arm.ARM_CC_AL) and name not in ("it", "b"),
            branches="pc" in writes or arm.ARM_GRP_JUMP in raw.groups,
            count=count,
            double=double,
            base=base,
            indexed=indexed,
            literal="pc" in base,
            reads=reads,
            writes=writes,
            addend=addend,
            shifted=any(operand.shift.type not in (0, arm.ARM_SFT_INVALID) for operand in raw.operands),
            writeback=bool(raw.writeback),
            sets_flags=bool(raw.update_flags) or name in ("cmp", "cmn", "tst", "teq"),
        )

    @staticmethod
    def _names(raw: Any, registers: Any) -> frozenset[str]:
        names: set[str] = set()
        for register in registers:
            name = raw.reg_name(register)
            if name[0] == "d" and name[1:].isdigit():
                names |= {f"s{2 * int(name[1:])}", f"s{2 * int(name[1:]) + 1}"}
            else:
                names.add(name)
        return frozenset(names)


SECOND_SOURCE = frozenset({"pkhbt", "pkhtb", "ssat", "usat", "ssat16", "usat16", "bfi"}) | {
    f"{sign}xta{kind}" for sign in "su" for kind in ("b", "h", "b16")
}
ADDS_LONG = frozenset(
    {"smlal", "umlal", "umaal", "smlald", "smlaldx", "smlsld", "smlsldx"} | {f"smlal{x}{y}" for x in "bt" for y in "bt"}
)
"""Multiplications that add to the register pair that they write."""
ADDS_LAST = frozenset(
    {"mla", "mls", "smlad", "smladx", "smlsd", "smlsdx", "smmla", "smmlar", "smmls", "smmlsr", "smlawb", "smlawt"}
    | {f"smla{x}{y}" for x in "bt" for y in "bt"}
)
"""Multiplications that add their last operand."""
MULTIPLY_ACCUMULATE = frozenset({"vmla", "vmls", "vnmla", "vnmls", "vfma", "vfms", "vfnma", "vfnms", "mla", "mls"})
