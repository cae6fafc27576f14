"""The profiler: exact instruction counts and the cycle band of one call, from the blocks that it executed."""

from __future__ import annotations

from collections import Counter
from typing import Any, NamedTuple

from ..profile import Cost
from .cycles import CostTable, Cycles, block_cost
from .decode import Decoder, Instruction
from .flash import code_stalls, data_stalls
from .machine import PAD, Machine

Block = tuple[int, int]
"""(address, bytes) of a straight run of code as the emulator translated it."""


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
        self._decoder = Decoder()
        self._decoded: dict[Block, tuple[Instruction, ...]] = {}
        self._edges: dict[tuple[Block | None, Block, bool], Cycles] = {}
        self._lines: dict[Block, tuple[tuple[int, int], ...]] = {}
        self._trace: list[Block] = []
        self._reads: list[int] = []
        self._hooks: list[Any] = []

    def __enter__(self) -> Profiler:
        engine, u = self._machine.engine, self._machine._unicorn
        trace, reads = self._trace.append, self._reads.append

        def on_block(_engine: Any, address: int, size: int, _data: Any) -> None:
            trace((address, size))

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
        self._trace.clear()
        self._reads.clear()
        self._machine.call(address)
        trace = [block for block in self._trace if block[0] != PAD]
        blocks = Counter(trace)
        instructions = sum(len(self._block(block)) * times for block, times in blocks.items())
        cycles = self._cycles(trace) if self._table else None
        stalls = None
        if self._cost is not None and self._table is not None:
            stalls = data_stalls(self._reads, self._cost) + code_stalls(map(self._lines_of, trace), self._cost)
        return CallProfile(instructions, cycles, stalls)

    def _block(self, block: Block) -> tuple[Instruction, ...]:
        if block not in self._decoded:
            address, size = block
            self._decoded[block] = self._decoder.block(self._machine.read(address, size), address)
        return self._decoded[block]

    def _cycles(self, trace: list[Block]) -> Cycles:
        """Sum over the edges: what a block costs depends on the one before it and on whether it branches away."""
        assert self._table is not None
        low = typical = high = 0
        befores: list[Block | None] = [None, *trace[:-1]]
        nexts: list[int] = [*(block[0] for block in trace[1:]), PAD]
        for (before, block, after), times in Counter(zip(befores, trace, nexts, strict=True)).items():
            taken = after != block[0] + block[1]
            key = (before, block, taken)
            if key not in self._edges:
                last = self._block(before)[-1] if before else None
                self._edges[key] = block_cost(self._table, self._block(block), last, taken)
            a, b, c = self._edges[key]
            low, typical, high = low + a * times, typical + b * times, high + c * times
        return Cycles(low, typical, high)

    def _lines_of(self, block: Block) -> tuple[tuple[int, int], ...]:
        """The flash lines of ``block`` in order, each with the typical cycles of the instructions in it."""
        if block not in self._lines:
            assert self._table is not None and self._cost is not None
            line_bytes = self._cost.flash_line_bytes
            lines: dict[int, int] = {}
            before = None
            for instruction in self._block(block):
                cycles = self._table.instruction(instruction, before)[1]
                first, last = instruction.address // line_bytes, (instruction.address + instruction.size - 1) // line_bytes
                lines[first] = lines.get(first, 0) + cycles
                if last != first:
                    lines.setdefault(last, 0)
                before = instruction
            self._lines[block] = tuple(lines.items())
        return self._lines[block]
