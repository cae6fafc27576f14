"""The profiler: exact instruction counts and the cycle band of one call, from the blocks that it executed."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from ...errors import BadInput
from ..profile import Cost
from .cycles import CostTable, Cycles, block_cost
from .decode import Instruction
from .flash import block_stalls, data_stalls
from .machine import Machine

SIZE_BITS = 16
"""A block, a straight run of code as the emulator translated it, is one number: its address, then its bytes."""
SIZE_MASK = (1 << SIZE_BITS) - 1


class CallProfile(NamedTuple):
    """What one call took."""

    instructions: int
    cycles: Cycles | None
    """Zero wait states; None where the core has no cost table."""
    stall_cycles: int | None
    """Flash wait states that were not hidden; None where the profile describes no flash."""


class Profiler:
    """Attaches to a machine; every call in between is traced block by block.

    An instruction hook would miss the instructions that an IT block skips (they take a cycle); the block hook sees
    every block, and decoding the block counts every instruction in it.
    """

    def __init__(self, machine: Machine, table: CostTable | None, cost: Cost | None) -> None:
        self._machine, self._table, self._cost = machine, table, cost
        self._decoder = machine.core.isa.decoder()
        self._decoded: dict[int, tuple[Instruction, ...]] = {}
        self._edges: dict[tuple[int | None, int, bool], Cycles] = {}
        self._lines: dict[int, tuple[tuple[int, int], ...]] = {}
        self._trace: list[int] = []
        self._reads: list[int] = []
        self._hooks: list[Any] = []

    def __enter__(self) -> Profiler:
        engine, u = self._machine.engine, self._machine._unicorn
        trace, reads = self._trace.append, self._reads.append

        def on_block(_engine: Any, address: int, size: int, _data: Any) -> None:
            trace(address << SIZE_BITS | size)

        def on_read(_engine: Any, _kind: int, address: int, _size: int, _value: int, _data: Any) -> None:
            reads(address)

        self._hooks = [engine.hook_add(u.UC_HOOK_BLOCK, on_block)]
        if self._cost is not None and self._cost.flash_wait_states:
            flash = (self._machine.flash_start, self._machine.flash_stop - 1)
            self._hooks.append(engine.hook_add(u.UC_HOOK_MEM_READ, on_read, None, *flash))
        engine.ctl_flush_tb()  # hooks reach only code that is translated after they were added
        return self

    def __exit__(self, *_: object) -> None:
        if self._machine.engine is not None:
            for hook in self._hooks:
                self._machine.engine.hook_del(hook)
            self._machine.engine.ctl_flush_tb()
        self._hooks = []

    def call(self, address: int) -> CallProfile:
        """Call the function at ``address`` and say what it took."""
        self.forget()
        self._machine.call(address)
        return self.settled()

    def forget(self) -> None:
        """What ran so far belongs to nobody."""
        self._trace.clear()
        self._reads.clear()

    def seen(self) -> tuple[bytes, bytes]:
        """What ran since :meth:`forget`, as a key: equal keys are settled alike."""
        return np.array(self._trace, np.uint64).tobytes(), np.array(self._reads, np.uint64).tobytes()

    def settled(self) -> CallProfile:
        """What took whatever ran since :meth:`forget`, as if it had ended with a branch."""
        # Soft float runs through hundreds of thousands of blocks: count them in numpy, then cost each once.
        blocks, order = np.unique(np.array(self._trace, np.uint64), return_inverse=True)
        code = [self._block(int(key)) for key in blocks]
        times = np.bincount(order, minlength=len(blocks))
        instructions = sum(len(block) * int(n) for block, n in zip(code, times, strict=True))
        if self._table is None:
            return CallProfile(instructions, None, None)
        cycles = self._cycles(blocks, order)
        if self._cost is None:
            return CallProfile(instructions, cycles, None)
        lines = [self._lines_of(int(key)) for key in blocks]
        stalls = data_stalls(self._reads, self._cost) + block_stalls(lines, order, self._cost)
        stalls += self._fetch_stalls(blocks, order, times)
        return CallProfile(instructions, cycles, stalls)

    def _block(self, key: int) -> tuple[Instruction, ...]:
        if key not in self._decoded:
            address, size = key >> SIZE_BITS, key & SIZE_MASK
            self._decoded[key] = self._checked(self._decoder.block(self._machine.read(address, size), address))
        return self._decoded[key]

    def _checked(self, block: tuple[Instruction, ...]) -> tuple[Instruction, ...]:
        """``block``, if the core has all of its instructions: the emulator's model may be a larger one."""
        core = self._machine.core
        if core.lacks is not None:
            for instruction in block:
                if core.lacks[1](instruction):
                    image = self._machine.image
                    raise BadInput(
                        image.path,
                        expected=f"instructions that a {core.name} has",
                        found=f"{instruction.text!r} in {image.name_at(instruction.address)}: it lacks {core.lacks[0]}",
                        repair=f"Compile for -mcpu={core.mcpu[0]}",
                    )
        return block

    def _cycles(self, blocks: npt.NDArray[np.uint64], order: npt.NDArray[np.intp]) -> Cycles:
        """Sum over the edges: what a block costs depends on the one before it and on whether it branches away."""
        assert self._table is not None
        starts = blocks >> np.uint64(SIZE_BITS)
        ends = starts + (blocks & np.uint64(SIZE_MASK))
        taken = np.ones(len(order), bool)  # the last block returns
        taken[:-1] = starts[order[1:]] != ends[order[:-1]]
        came_from = np.concatenate([[len(blocks)], order[:-1]])  # len(blocks): nothing ran before
        edges, times = np.unique((came_from * len(blocks) + order) * 2 + taken, return_counts=True)
        total = Cycles(0, 0, 0)
        for edge, n in zip(edges.tolist(), times.tolist(), strict=True):
            previous, this, away = edge // 2 // len(blocks), edge // 2 % len(blocks), bool(edge % 2)
            key = (int(blocks[previous]) if previous < len(blocks) else None, int(blocks[this]), away)
            if key not in self._edges:
                before = self._block(key[0]) if key[0] is not None else ()
                self._edges[key] = block_cost(self._table, self._block(key[1]), before, away)
            total = total.plus(self._edges[key].times(n))
        return total

    def _fetch_stalls(self, blocks: npt.NDArray[np.uint64], order: npt.NDArray[np.intp], times: npt.NDArray[np.intp]) -> int:
        """What the core itself loses to the alignment of code: per block, and per entry by a branch."""
        assert self._table is not None
        stalls = self._table.fetch_stalls
        if stalls is None:
            return 0
        starts = blocks >> np.uint64(SIZE_BITS)
        ends = starts + (blocks & np.uint64(SIZE_MASK))
        jumped = np.ones(len(order), bool)  # the call itself is a branch
        jumped[1:] = starts[order[1:]] != ends[order[:-1]]
        entries = np.bincount(order[jumped], minlength=len(blocks))
        total = 0
        for key, n, entered in zip(blocks.tolist(), times.tolist(), entries.tolist(), strict=True):
            block = self._block(key)
            plain = stalls(block, False)
            total += plain * n + (stalls(block, True) - plain) * entered
        return total

    def _lines_of(self, key: int) -> tuple[tuple[int, int], ...]:
        """The flash lines of a block in order, each with the typical cycles of the instructions in it."""
        if key not in self._lines:
            assert self._table is not None and self._cost is not None
            line_bytes = self._cost.flash_line_bytes
            lines: dict[int, int] = {}
            before = None
            for instruction in self._block(key):
                cycles = self._table.instruction(instruction, before)[1]
                first, last = instruction.address // line_bytes, (instruction.address + instruction.size - 1) // line_bytes
                lines[first] = lines.get(first, 0) + cycles
                if last != first:
                    lines.setdefault(last, 0)
                before = instruction
            self._lines[key] = tuple(lines.items())
        return self._lines[key]
