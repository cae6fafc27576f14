"""A virtual board on a serial line: its firmware answers bytes, executed instruction by instruction on the chip's registers."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b
from pathlib import Path
from typing import Any

from ...errors import BadInput, Unreachable, Unsupported
from ..profile import Target
from .cores import find_core
from .cycles import find_table
from .image import read_image
from .machine import PAINT, Machine
from .port import Chip, Fault, Port
from .profiler import CallProfile, Profiler
from .rp2040 import Rp2040
from .stm32f405 import Stm32f405

CHIPS: dict[str, Callable[[Port, float | None], Chip]] = {"stm32f405": Stm32f405, "rp2040": Rp2040}
CRYSTALS = {"stm32f405": 8e6, "rp2040": 12e6}
BOOT_BYTES = 256
SECOND_STAGE = 0x20041F00
"""Where an RP2040's boot ROM copies the second stage of the boot (RP2040 datasheet, "Bootrom"; address from memory)."""
SLICE = 2_000_000_000
"""Instructions between two looks at whether the firmware still does anything sensible."""
KNOWN = 4096
"""Traces whose cost is remembered: the same code between two readings of the clock costs the same."""


class UartMachine(Machine):
    """A machine with a chip's registers, whose firmware runs by itself."""

    def __init__(self, elf: Path, target: Target, crystal_hz: float | None) -> None:
        uart = target.uart
        if uart is None:
            raise Unsupported(f"target {target.name}", expected="a [uart] table", found="none")
        self.port = Port(uart.baud, lambda: self.cycles(), self._pause)
        self.chip = CHIPS[uart.board](self.port, crystal_hz)
        self.cycles: Callable[[], int] = lambda: 0
        self._offset = uart.flash_offset_bytes
        self._paused = False
        self.idled = True
        """The firmware has waited for a byte since this was last cleared."""
        self._fault: Fault | None = None
        self._at = 0
        super().__init__(read_image(Path(elf), target.memory, find_core(target.cpu.core).isa), target)

    def _build(self) -> Any:
        engine = super()._build()
        for address, size in self.chip.pages:
            engine.mmio_map(address, size, self._read, address, self._write, address)
        if isinstance(self.chip, Rp2040):
            engine.mem_map(SECOND_STAGE & ~0xFFF, 0x1000)
        return engine

    def _read(self, _engine: Any, offset: int, _size: int, base: int) -> int:
        try:
            return self.chip.read(base + offset)
        except Fault as fault:
            return self._stop(fault)

    def _write(self, _engine: Any, offset: int, _size: int, value: int, base: int) -> None:
        try:
            self.chip.write(base + offset, value)
        except Fault as fault:
            self._stop(fault)

    def _stop(self, fault: Fault) -> int:
        self._fault = fault
        self.engine.emu_stop()
        return 0

    def _pause(self) -> None:
        """The firmware waits for a byte: it is asked for again when it goes on, as reading a status register changes nothing."""
        self._paused = self.idled = True
        self.engine.emu_stop()

    def boot(self) -> None:
        """Power on: what the chip does before the firmware's first instruction; the firmware runs with :meth:`go`."""
        if self.engine is None:
            raise Unreachable("the virtual board is closed")
        self._crashed = self._fault = None
        self.ram[:] = PAINT
        self.flash_start += self._offset
        try:
            stack, entry = self._start()
        finally:
            self.flash_start -= self._offset
        if isinstance(self.chip, Rp2040):
            self._second_stage(self.chip, entry & ~1)
        else:
            self.engine.reg_write(self._sp, stack)
        self.stack_floor = max((stop for _, stop in self.image.static_ranges if stop <= stack), default=self.ram_start)
        self._at = entry | 1

    def _second_stage(self, chip: Rp2040, entry: int) -> None:
        """As the boot ROM does: 252 bytes with their CRC are copied to RAM and run there; flash must be mapped when they end."""
        from binascii import crc32

        stage = self.read(self.flash_start, BOOT_BYTES)
        mirrored = crc32(bytes(int(f"{byte:08b}"[::-1], 2) for byte in stage[:-4])) ^ 0xFFFFFFFF
        if int(f"{mirrored:032b}"[::-1], 2) != int.from_bytes(stage[-4:], "little"):
            raise BadInput(self.image.path, expected="a second stage of the boot with its CRC", found="another CRC")
        self.engine.mem_write(SECOND_STAGE, stage)
        self.engine.reg_write(self._sp, SECOND_STAGE)
        self.engine.reg_write(self._link, 0)
        self._at = SECOND_STAGE | 1
        self._execute(entry)
        if not chip.flash.mapped:
            raise BadInput(self.image.path, expected="a second stage that maps the flash", found="an SSI that does not read it")

    def go(self) -> None:
        """Run the firmware until it waits for a byte."""
        if self._crashed is not None:
            raise Unreachable("the virtual board has crashed; reset it first") from self._crashed
        self._paused = False
        while not self._paused:
            self._execute(0)

    def _execute(self, until: int) -> None:
        try:
            self.engine.emu_start(self._at, until, 0, SLICE)
        except self._unicorn.UcError as error:
            self._fail(self._explain(error))
        self._at = self.engine.reg_read(self._pc) | 1
        if self._fault is not None:
            found = f"{self._fault}, in {self.image.name_at(self._at & ~1)}"
            self._fail(BadInput(self.image.path, expected="what the real chip allows", found=found))
        arrived = until and self._at & ~1 == until
        if not self._paused and not arrived:
            where = self.image.name_at(self._at & ~1)
            self._fail(Unreachable(f"{self.image.path}: after {SLICE:,} instructions the firmware is still busy, at {where}"))


class UartBoard:
    """The serial firmware ``elf`` on the board of ``target``: bytes in, bytes out.

    ``metered``: the chip's clock advances by the target's cycle model, so what the firmware times is what the model says. Not
    metered it is ten times as fast, and its clock counts its own readings: one tick each.
    Raises BadInput where the firmware is none, or does what the chip does not allow; MissingTool without the emulator.
    """

    def __init__(self, elf: Path, target: Target, *, metered: bool = True, crystal_hz: float | None = -1.0) -> None:
        """``crystal_hz``: of the board; -1: what its profile says; None: it has none."""
        uart = target.uart
        if crystal_hz == -1.0 and uart is not None:
            crystal_hz = uart.crystal_hz or CRYSTALS[uart.board]
        self.target = target
        self.machine = UartMachine(elf, target, crystal_hz)
        self._cycles = 0
        self._known: dict[bytes, int] = {}
        self._profiler: Profiler | None = None
        if metered:
            cost = target.cost
            table = find_table(cost.table) if cost is not None and cost.table else None
            if table is None:
                raise Unsupported(
                    f"target {target.name}, cost.table", expected="a cycle table, for a metered board", found="none"
                )
            self._profiler = Profiler(self.machine, table, cost).__enter__()
            self.machine.cycles = self._metered
        else:
            self.machine.cycles = self._counted

    def _counted(self) -> int:
        self._cycles += 1
        return self._cycles

    def _metered(self) -> int:
        """Cycles since power-on, typical, with what flash costs; called in the middle of a reading of the clock.

        A stretch in which the firmware waited for bytes has no length of its own: a cycle a block is counted for it.
        """
        assert self._profiler is not None
        seen = self._profiler.seen()
        if self.machine.idled:
            self.machine.idled = False
            self._cycles += len(seen[0]) // 8
            self._profiler.forget()
            return self._cycles
        # Soft float never runs the same way twice, in megabytes of trace: only the fingerprint is kept.
        key = b"".join(blake2b(part, digest_size=16).digest() for part in seen)
        if key not in self._known:
            if len(self._known) >= KNOWN:
                self._known.clear()
            self._known[key] = _typical(self._profiler.settled())
        self._cycles += self._known[key]
        self._profiler.forget()
        return self._cycles

    def exchange(self, data: bytes) -> bytes:
        """``data`` arrives; what the firmware has sent when it waits for more."""
        self.machine.port.arrive(data)
        self.machine.go()
        return self.machine.port.leave()

    def close(self) -> None:
        """Release the emulator."""
        if self._profiler is not None:
            self._profiler.__exit__()
        self.machine.close()


def _typical(profile: CallProfile) -> int:
    return (profile.cycles.typical if profile.cycles else 0) + (profile.stall_cycles or 0)


class BoardChannel:
    """A board in this process as a channel (see :class:`pilotfish.targets.wire.client.Channel`)."""

    def __init__(self, board: UartBoard) -> None:
        self.board, self._replies = board, bytearray()

    def write(self, data: bytes) -> None:
        self._replies += self.board.exchange(data)

    def read(self, max_bytes: int, timeout_s: float) -> bytes:  # noqa: ARG002 what is not there now will not come by waiting
        out = bytes(self._replies[:max_bytes])
        del self._replies[:max_bytes]
        return out

    def close(self) -> None:
        self.board.close()
