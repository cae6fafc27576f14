"""Decodes code for cores without a cycle table: addresses, sizes and names are all that is asked of it."""

from __future__ import annotations

from typing import Any

from ....errors import Unreachable, require
from ..decode import Instruction


class PlainDecoder:
    """Decodes with capstone in the given architecture and mode."""

    def __init__(self, arch: int, mode: int) -> None:
        capstone: Any = require("capstone", "emulate")
        self._engine = capstone.Cs(arch, mode)

    def block(self, code: bytes, address: int) -> tuple[Instruction, ...]:
        """Decode all of ``code``, which the emulator has executed at ``address``."""
        found = tuple(
            Instruction(at, size, name, f"{name} {operands}".strip())
            for at, size, name, operands in self._engine.disasm_lite(code, address)
        )
        decoded = sum(i.size for i in found)
        if decoded != len(code):
            raise Unreachable(
                f"the profiler cannot decode the instruction bytes {code[decoded : decoded + 4].hex()} "
                f"at {address + decoded:#x}, although the emulator executed them; please report this"
            )
        return found
