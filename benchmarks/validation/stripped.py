"""A stripped firmware image of an STM32 (raw flash bytes, no symbols) on the virtual board: what it sets up at boot, which
function is its inference, and what one call of it costs by the shipped model.

Published benchmark submissions hold such images beside the cycles that hardware took: the same binary on both sides, so that
no compiler stands between estimate and measurement.
"""

from __future__ import annotations

import contextlib
import mmap
import struct
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import unicorn
from unicorn import arm_const

from pilotfish.targets.virtual.cores import find_core
from pilotfish.targets.virtual.cycles import CostTable
from pilotfish.targets.virtual.profiler import CallProfile, Profiler

FLASH, FLASH_BYTES = 0x08000000, 2 << 20
RAM_BYTES = 1 << 20
RAMS = (0x20000000, 0x24000000)
"""SRAM of every STM32, and the AXI SRAM of an STM32H7."""
PAD = 0x1FFFF000
"""Where a call returns to."""
PERIPHERALS = ((0x40000000, 0x20000000), (0xE0000000, 0x00100000))
BOOT_INSTRUCTIONS = 3_000_000


@dataclass(frozen=True)
class Boot:
    """What the firmware wrote into the registers that decide how fast its flash is."""

    writes: dict[int, tuple[int, ...]]
    """Every value written to each watched register, in order."""

    def last(self, register: int) -> int | None:
        """The value that stayed; None: never written."""
        return self.writes[register][-1] if self.writes.get(register) else None


class StrippedImage:
    """One image, booted as far as it goes without its peripherals, ready to be called."""

    def __init__(self, data: bytes, core: str, watch: tuple[int, ...] = ()) -> None:
        self.data = data
        self.flash_start, self.flash_stop = FLASH, FLASH + FLASH_BYTES
        self._unicorn = unicorn
        self.core = find_core(core)
        self.stack, self.entry = struct.unpack_from("<II", data)
        self.engine: Any = unicorn.Uc(unicorn.UC_ARCH_ARM, unicorn.UC_MODE_THUMB)
        self.engine.ctl_set_cpu_model(getattr(arm_const, self.core.unicorn_model))
        self.engine.ctl_set_tcg_buffer_size(16 << 20)
        self.engine.mem_map(FLASH, FLASH_BYTES, unicorn.UC_PROT_READ | unicorn.UC_PROT_EXEC)
        self.engine.mem_write(FLASH, data)
        self._buffers = [mmap.mmap(-1, RAM_BYTES) for _ in RAMS]
        self.rams = [np.frombuffer(buffer, np.uint8) for buffer in self._buffers]
        for origin, ram in zip(RAMS, self.rams, strict=True):
            self.engine.mem_map_ptr(origin, RAM_BYTES, 7, ram.ctypes.data)
        self.engine.mem_map(PAD, 0x1000, unicorn.UC_PROT_READ | unicorn.UC_PROT_EXEC)
        self.boot = self._boot(watch)
        self._after_boot = [ram.copy() for ram in self.rams]

    def _boot(self, watch: tuple[int, ...]) -> Boot:
        """Run the reset handler against peripherals that remember what was written and keep changing their other bits.

        Every "wait until ready" then ends at some read. The handler gets through the copying of initial values and the
        clock set-up, and is stopped where it waits for ever.
        """
        registers: dict[int, int] = {}
        turns: dict[int, int] = {}
        written: dict[int, list[int]] = {register: [] for register in watch}

        def read(_engine: Any, offset: int, _size: int, origin: int) -> int:
            register = origin + offset
            turn = turns[register] = turns.get(register, 0) + 1
            value = registers.get(register, 0)
            answers = (value, value | value << 1, value | 0xFFFF0000, value | 0xAAAAAAAA, 0xFFFFFFFF, 0)
            return answers[turn // 8 % len(answers)] & 0xFFFFFFFF

        def write(_engine: Any, offset: int, _size: int, value: int, origin: int) -> None:
            registers[origin + offset] = value
            if origin + offset in written:
                written[origin + offset].append(value)

        for origin, size in PERIPHERALS:
            self.engine.mmio_map(origin, size, read, origin, write, origin)
        self.engine.reg_write(arm_const.UC_ARM_REG_SP, self.stack)
        self.engine.reg_write(arm_const.UC_ARM_REG_LR, PAD | 1)
        # It may need a peripheral that is not there; its memory is set up by then.
        with contextlib.suppress(unicorn.UcError):
            self.engine.emu_start(self.entry | 1, PAD, 0, BOOT_INSTRUCTIONS)
        for origin, size in PERIPHERALS:
            self.engine.mem_unmap(origin, size)
        return Boot({register: tuple(values) for register, values in written.items()})

    def call_targets(self) -> list[int]:
        """Every address that a BL instruction may call, or a wide branch may tail-call where a PUSH stands (BL, B.W: T1, T4)."""
        halfwords = np.frombuffer(self.data[: len(self.data) // 2 * 2], "<u2").astype(np.int64)
        first, second = halfwords[:-1], halfwords[1:]
        at = np.flatnonzero((first & 0xF800 == 0xF000) & (second & 0x9000 == 0x9000))
        high, low = first[at], second[at]
        sign, j1, j2 = high >> 10 & 1, low >> 13 & 1, low >> 11 & 1
        i1, i2 = 1 - (j1 ^ sign), 1 - (j2 ^ sign)
        offset = -sign * (1 << 24) + i1 * (1 << 23) + i2 * (1 << 22) + (high & 0x3FF) * (1 << 12) + (low & 0x7FF) * 2
        place = 2 * at + 4 + offset
        inside = (place >= 0) & (place < len(self.data) - 4)
        place, low = place[inside], low[inside]
        begins = halfwords[place // 2]
        pushes = (begins == 0xE92D) | (begins & 0xFF00 == 0xB500)
        return sorted({FLASH + int(p) for p in place[(low & 0x4000 != 0) | pushes]})

    def prepare(self, seed: int = 0) -> None:
        """Memory as after the boot, the activation buffer full of random int8 values, its address in r0."""
        for ram, saved in zip(self.rams, self._after_boot, strict=True):
            ram[:] = saved
        free = RAM_BYTES // 2
        self.rams[0][free : free + (128 << 10)] = np.random.default_rng(seed).integers(0, 256, 128 << 10, np.uint8)
        engine = self.engine
        engine.reg_write(arm_const.UC_ARM_REG_SP, RAMS[0] + free - 64)
        engine.reg_write(arm_const.UC_ARM_REG_LR, PAD | 1)
        for register in (arm_const.UC_ARM_REG_R0, arm_const.UC_ARM_REG_R1, arm_const.UC_ARM_REG_R2, arm_const.UC_ARM_REG_R3):
            engine.reg_write(register, RAMS[0] + free)

    def call(self, address: int, most: int = 2_000_000_000) -> bool:
        """Call a function; True where it returned within ``most`` instructions without a fault."""
        self.prepare()
        try:
            self.engine.emu_start(address | 1, PAD, 0, most)
        except unicorn.UcError:
            return False
        return bool(self.engine.reg_read(arm_const.UC_ARM_REG_PC) & ~1 == PAD)

    def read(self, address: int, size: int) -> bytes:
        """``size`` bytes at ``address``."""
        return bytes(self.engine.mem_read(address, size))

    def find_inference(self, at_least: int, most: int) -> tuple[int, int]:
        """(address, distinct flash bytes read) of the called function that reads most of the image's constants.

        It must return within ``most`` instructions and touch no peripheral, which leaves out the benchmark's runner; of two that
        read equally many bytes the one at the higher address is taken. Raises LookupError where none reads ``at_least`` bytes.
        """
        seen = np.zeros(FLASH_BYTES, bool)

        def on_read(_engine: Any, _kind: int, address: int, size: int, _value: int, _data: Any) -> None:
            seen[address - FLASH : address - FLASH + size] = True

        survivors = [t for t in self.call_targets() if self._runs_long(t) and self.call(t, most)]
        hook = self.engine.hook_add(unicorn.UC_HOOK_MEM_READ, on_read, None, FLASH, FLASH + FLASH_BYTES - 1)
        self.engine.ctl_flush_tb()
        found: list[tuple[int, int]] = []
        for target in survivors:
            seen[:] = False
            if self.call(target, most):
                found.append((int(seen.sum()), target))
        self.engine.hook_del(hook)
        self.engine.ctl_flush_tb()
        best = max(found, default=(0, 0))
        if best[0] < at_least:
            raise LookupError(f"no function reads {at_least} bytes of constants; the most is {best[0]}")
        return best[1], best[0]

    def _runs_long(self, target: int) -> bool:
        """It is still running, without a fault, after as many instructions as no inference gets by with."""
        self.prepare()
        try:
            self.engine.emu_start(target | 1, PAD, 0, 150_000)
        except unicorn.UcError:
            return False
        return bool(self.engine.reg_read(arm_const.UC_ARM_REG_PC) & ~1 != PAD)

    def profile(self, address: int, table: CostTable | None, cost: Any) -> CallProfile:
        """One call of ``address`` through the shipped profiler."""
        with Profiler(_AsMachine(self), table, cost) as profiler:
            return profiler.call(address)


class _AsMachine(SimpleNamespace):
    """The face of the virtual machine that the profiler uses."""

    def __init__(self, image: StrippedImage) -> None:
        super().__init__(engine=image.engine, _unicorn=unicorn, core=image.core, isa=image.core.isa, read=image.read)
        self.flash_start, self.flash_stop, self._image = image.flash_start, image.flash_stop, image

    def call(self, address: int) -> None:
        """Raises RuntimeError where the call does not return."""
        if not self._image.call(address):
            raise RuntimeError(f"the call of {address:#010x} did not return")
