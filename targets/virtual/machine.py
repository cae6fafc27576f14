"""The virtual machine: executes the firmware's own instructions on a core with exactly the board's memory."""

from __future__ import annotations

import mmap
from typing import Any, NoReturn

import numpy as np

from ...errors import BadInput, Unreachable, require
from ..profile import Target
from .cores import find_core
from .image import Image

IDLE = "pilotfish_idle"
"""Where the firmware waits once it has started."""
MAX_INSTRUCTIONS = 200_000_000
"""A call that has not returned by then never will: seconds of board time."""
PAD = 0x1FFF0000
"""Where calls return to. It must be executable in Arm's default memory map (the code region is), lie apart from RAM, so
that a stack that leaves it is noticed, and be neither the null page nor an EXC_RETURN value, which would hide mistakes."""
MAX_ADDRESS = 0xE0000000
"""Memory ends below it: Arm keeps its system registers there, and 32 bits end soon after."""
PAINT = 0xA5
"""RAM starts filled with this: firmware that forgets to initialize it is found out, and so is the stack's depth."""
GUARD_BYTES = 32
"""Lowest bytes that the stack may never reach."""


class Machine:
    """One emulated core with flash (read, execute) and RAM (read, write), started up to ``pilotfish_idle``."""

    def __init__(self, image: Image, target: Target) -> None:
        self._unicorn: Any = require("unicorn", "emulate")
        self.image, self.target = image, target
        self.core = find_core(target.cpu.core)
        self.isa = isa = self.core.isa
        constants = require(isa.constants, "emulate")
        names = (isa.stack_register, isa.link_register, isa.program_counter, self.core.unicorn_model)
        self._sp, self._link, self._pc, self._model = (getattr(constants, name) for name in names)
        memory = target.memory
        for name, size, origin in (
            ("flash", memory.flash_bytes, memory.flash_origin),
            ("ram", memory.ram_bytes, memory.ram_origin),
        ):
            if size is None or size % isa.page or origin % isa.page or origin + size > MAX_ADDRESS or size > 256 << 20:
                raise BadInput(
                    f"target {target.name}, memory.{name}_bytes and memory.{name}_origin",
                    expected=f"multiples of {isa.page} bytes, at most 256 MiB, below {MAX_ADDRESS:#x}",
                    found=f"{size} bytes at {origin:#x}",
                )
        assert memory.flash_bytes is not None and memory.ram_bytes is not None  # checked above; for the type checker
        self.flash_start, self.flash_stop = memory.flash_origin, memory.flash_origin + memory.flash_bytes
        self.ram_start, self.ram_stop = memory.ram_origin, memory.ram_origin + memory.ram_bytes
        # The emulator works on this very buffer, so observations and actions cross without a call.
        self._buffer = mmap.mmap(-1, memory.ram_bytes)
        self.ram = np.frombuffer(self._buffer, np.uint8)
        self._crashed: BaseException | None = None
        self._bad_access: tuple[int, int] | None = None
        self.engine: Any = self._build()
        self.stack_floor = 0
        self.call_stack = 0
        self.boot()

    def _build(self) -> Any:
        u = self._unicorn
        engine = u.Uc(getattr(u, self.isa.arch), getattr(u, self.isa.mode))
        engine.ctl_set_cpu_model(self._model)
        # The default code buffer reserves 1 GiB of address space for every board.
        engine.ctl_set_tcg_buffer_size(16 << 20)
        try:
            engine.mem_map(self.flash_start, self.flash_stop - self.flash_start, u.UC_PROT_READ | u.UC_PROT_EXEC)
            engine.mem_map_ptr(
                self.ram_start, self.ram_stop - self.ram_start, u.UC_PROT_READ | u.UC_PROT_WRITE, self.ram.ctypes.data
            )
            for page in self.isa.devices:
                engine.mem_map(page, 4096, u.UC_PROT_READ | u.UC_PROT_WRITE)
            engine.mem_map(PAD, self.isa.page, u.UC_PROT_READ | u.UC_PROT_EXEC)
        except u.UcError as error:
            raise BadInput(
                f"target {self.target.name}, memory",
                expected=f"flash and RAM apart from each other and from {PAD:#x}",
                found=f"flash at {self.flash_start:#x}, RAM at {self.ram_start:#x} ({error})",
            ) from error
        for segment in self.image.segments:
            engine.mem_write(segment.load, segment.data)
        engine.hook_add(u.UC_HOOK_MEM_INVALID, self._note_bad_access)
        return engine

    def _note_bad_access(self, _engine: Any, _kind: int, address: int, size: int, _value: int, _data: Any) -> bool:
        self._bad_access = (address, size)
        return False

    def boot(self) -> None:
        """Power on: RAM holds garbage, the firmware starts as its core starts it, and runs until it idles."""
        if self.engine is None:
            raise Unreachable("the virtual board is closed")
        self._crashed = None
        self.ram[:] = PAINT
        stack, entry = self._start()
        # Everything static below the stack bounds it; without any, the start of RAM does.
        self.stack_floor = max((stop for _, stop in self.image.static_ranges if stop <= stack), default=self.ram_start)
        if stack - self.stack_floor < 2 * GUARD_BYTES:
            raise BadInput(
                self.image.path,
                expected="room for a stack in RAM",
                found=f"{stack - self.stack_floor} bytes left by {self.image.ram_static_bytes:,} bytes of static data",
                repair="Use a smaller policy or a board with more RAM",
            )
        self.engine.reg_write(self._sp, stack)
        self.engine.reg_write(self._link, 0xFFFFFFFF)
        self._run(entry, self.image.symbol(IDLE).address)
        self.call_stack = self.engine.reg_read(self._sp)
        if not (self.stack_floor + GUARD_BYTES <= self.call_stack <= self.ram_stop) or self.call_stack % self.isa.stack_alignment:
            raise BadInput(
                self.image.path,
                expected=f"a stack in RAM, above {self.stack_floor:#x} and aligned to {self.isa.stack_alignment}, once it idles",
                found=f"the stack pointer {self.call_stack:#x}",
            )
        self._guard = self.ram[self.stack_floor - self.ram_start :][:GUARD_BYTES]
        self._guard_words = self._guard.tobytes()

    def _start(self) -> tuple[int, int]:
        """(stack pointer, entry) at power on: from the vector table, or the ELF entry, which sets the stack pointer itself."""
        if not self.isa.vector_table:
            if not self.flash_start <= self.image.entry < self.flash_stop:
                raise BadInput(self.image.path, expected="an entry point in flash", found=f"{self.image.entry:#010x}")
            return self.ram_stop & -self.isa.stack_alignment, self.image.entry
        stack, entry = (int.from_bytes(self.engine.mem_read(self.flash_start + at, 4), "little") for at in (0, 4))
        if not (self.ram_start < stack <= self.ram_stop) or stack % self.isa.stack_alignment:
            raise BadInput(
                self.image.path,
                expected=f"a stack in RAM ({self.ram_start:#x} to {self.ram_stop:#x}), aligned to {self.isa.stack_alignment}",
                found=f"{stack:#010x} as the first word of flash",
                repair="The vector table must come first in flash",
            )
        if not (entry & self.isa.code_bit and self.flash_start <= entry < self.flash_stop):
            raise BadInput(
                self.image.path,
                expected="a Thumb reset handler in flash",
                found=f"{entry:#010x} as the second word of flash",
                repair="The vector table must come first in flash",
            )
        return stack, entry

    def view(self, name: str, dtype: str, count: int) -> np.ndarray[Any, Any]:
        """The variable ``name`` in RAM as a live numpy array of ``count`` values."""
        kind = np.dtype(dtype)
        symbol = self.image.symbol(name, count * kind.itemsize)
        start = symbol.address - self.ram_start
        if start < 0 or start % kind.itemsize or start + symbol.size > self.ram.size:
            raise BadInput(self.image.path, expected=f"{name} in RAM, aligned", found=f"it at {symbol.address:#x}")
        return self.ram[start : start + symbol.size].view(kind)

    def read(self, address: int, size: int) -> bytes:
        """``size`` bytes at ``address``."""
        try:
            return bytes(self.engine.mem_read(address, size))
        except self._unicorn.UcError as error:
            raise BadInput(self.image.path, expected=f"{size} bytes at {address:#x}", found="no memory there") from error

    def call(self, address: int) -> None:
        """Call the function at ``address`` (no arguments, no result) and run it to its return."""
        if self._crashed is not None:
            state = "has crashed; reset it first" if self.engine is not None else "is closed"
            raise Unreachable(f"the virtual board {state}") from self._crashed
        self.engine.reg_write(self._link, PAD | self.isa.code_bit)
        self._run(address | self.isa.code_bit, PAD)
        if self._guard.tobytes() != self._guard_words:
            self._fail(self._out_of_memory("its stack ran into its static data"))

    def _run(self, start: int, until: int) -> None:
        try:
            # No timeout=: it costs a thread per call. count= is nearly free, but returns silently.
            self.engine.emu_start(start, until, 0, MAX_INSTRUCTIONS)
        except self._unicorn.UcError as error:
            self._fail(self._explain(error))
        where = self.engine.reg_read(self._pc) & ~1
        if where != until:
            self._fail(
                Unreachable(
                    f"{self.image.path}: the virtual board does not answer: after {MAX_INSTRUCTIONS:,} instructions from "
                    f"{self.image.name_at(start & ~1)} it is still running, at {self.image.name_at(where)}"
                )
            )

    def _fail(self, error: Exception) -> NoReturn:
        self._crashed, self._bad_access = error, None
        raise error

    @property
    def crashed(self) -> bool:
        """True after a fault, until the next boot."""
        return self._crashed is not None

    def _out_of_memory(self, found: str) -> BadInput:
        size = self.ram_stop - self.ram_start
        return BadInput(
            self.image.path,
            expected=f"a program that needs at most the {size:,} bytes of RAM of {self.target.name}",
            found=f"{found} ({self.image.ram_static_bytes:,} bytes static)",
            repair="Use a smaller policy or a board with more RAM",
        )

    def _explain(self, error: Any) -> Exception:
        """A fault of the core, in words."""
        u, path = self._unicorn, self.image.path
        pc = self.engine.reg_read(self._pc) & ~1
        stack = self.engine.reg_read(self._sp)
        where = self.image.name_at(pc)
        address = self._bad_access[0] if self._bad_access else None
        at = f" {address:#010x}" if address is not None else ""
        if error.errno in (u.UC_ERR_WRITE_UNMAPPED, u.UC_ERR_READ_UNMAPPED):
            below = address is not None and self.ram_start - (64 << 10) <= address < self.ram_start
            if below or not self.ram_start <= stack <= self.ram_stop:
                return self._out_of_memory(f"its stack left the RAM in {where}")
            verb = "writes to" if error.errno == u.UC_ERR_WRITE_UNMAPPED else "reads from"
            return BadInput(path, expected="accesses to memory that the board has", found=f"{where} {verb}{at}, which is none")
        if error.errno == u.UC_ERR_WRITE_PROT:
            return BadInput(path, expected="writes to RAM only", found=f"{where} writes to{at}, which is flash")
        if error.errno in (u.UC_ERR_FETCH_PROT, u.UC_ERR_FETCH_UNMAPPED):
            return BadInput(path, expected="code that runs from flash", found=f"a jump to {address or pc:#010x}")
        if error.errno == u.UC_ERR_INSN_INVALID:
            code = self.read(pc, 4).hex() if self.flash_start <= pc < self.flash_stop - 4 else "?"
            return BadInput(
                path,
                expected=f"instructions that a {self.core.name} has",
                found=f"the bytes {code} in {where}, which are none of them",
                repair=f"Compile for -mcpu={self.core.mcpu[0]}",
            )
        if error.errno == u.UC_ERR_EXCEPTION:
            return BadInput(
                path,
                expected="a program that raises no exception",
                found=f"one in {where}, on a {self.core.name} ({self.isa.exceptions})",
            )
        return Unreachable(f"{path}: the virtual board stopped in {where}: {error}")

    def close(self) -> None:
        """Release the emulator; the machine cannot be used afterwards."""
        self.engine = None
        self._crashed = Unreachable("the virtual board is closed")
