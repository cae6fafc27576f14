"""isa: what the virtual board must know about an instruction set, one short file each."""

from __future__ import annotations

from . import aarch64, riscv32, thumb
from .isa import Isa

ISAS: dict[str, Isa] = {isa.name: isa for isa in (thumb.ISA, riscv32.ISA, aarch64.ISA)}
"""Name -> instruction set. A new one is a file and an entry here."""

__all__ = ["ISAS", "Isa"]
