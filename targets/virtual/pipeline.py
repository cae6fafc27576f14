"""In-order pipelines that issue up to two instructions a cycle: what a block takes by issue slots, units and latencies.

For cores without a published cycle table, whose pairing rules and latencies others have measured (each core's file says who).
A block is simulated behind the end of the block before it, so that results that are still under way are waited for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from .decode import Instruction

BEHIND = 8
"""Instructions of the preceding block that are simulated with a block: no latency but a division's reaches further."""


class Timing(NamedTuple):
    """What one instruction asks of the pipeline."""

    units: tuple[str, ...] = ("alu",)
    """What it occupies in its cycle; a unit may be named twice."""
    latency: int = 1
    """Cycles until another instruction can read its result; 0: within the same cycle."""
    cycles: int = 1
    """Cycles before the next instruction can issue, if it is the last of its cycle."""
    alone: bool = False
    """Never shares its cycle."""
    older: bool = False
    """Only the first of a pair."""
    early: frozenset[str] = frozenset()
    """Registers that it reads a cycle early, such as those that form an address."""
    late: frozenset[str] = frozenset()
    """Registers that it reads late, such as data to be stored."""
    addend_advance: int = 0
    """Cycles by which it reads its addend later than its factors."""
    forwards_early: bool = False
    """Its result serves even early readers in the next cycle."""
    loads: bool = False
    """Its result comes from memory."""
    multiplies: bool = False
    """Reads its factors too early for a result that was loaded in the cycle before."""
    blocks_float: int = 0
    """Cycles for which no other kind of floating-point instruction can issue after it."""
    float_kind: str = ""
    """Of a floating-point instruction: "mac"; "move", which a "mac" before it keeps out of the second slot; "other", which it
    keeps out altogether. Else empty."""


@dataclass(frozen=True)
class Pipeline:
    """One core's rules."""

    timing: Callable[[Instruction], Timing]
    """What an instruction asks for."""
    units: dict[str, int]
    """How many of each unit there are."""
    pairs: Callable[[Instruction, Instruction, bool], bool]
    """May the second share the cycle of the first? Third argument: the second is a branch that is taken."""
    refill: tuple[int, int, int]
    """(low, typical, high) cycles that a taken branch adds."""
    _seen: dict[Instruction, Timing] = field(default_factory=dict, compare=False, repr=False)

    def cost(self, before: tuple[Instruction, ...], block: tuple[Instruction, ...], taken: bool) -> tuple[int, int, int]:
        """(low, typical, high) cycles of ``block`` after ``before``.

        Low waits for no result; high never pairs two accesses to memory, and refills longest.
        """
        before = before[-BEHIND:]
        followed = bool(before) and before[-1].address + before[-1].size == block[0].address
        band = []
        for level in range(3):
            start = self._run(before, level, (not followed,)) if before else 0
            stop = self._run(before + block, level, (not followed, taken), len(before) or -1)
            band.append(max(0, stop - start))
        low, typical, high = band
        return min(low, typical), typical, max(high, typical)

    def _run(self, code: tuple[Instruction, ...], level: int, taken: tuple[bool, ...], border: int = -1) -> int:
        """Cycle after the last instruction of ``code``; ``taken``: of the branch before ``border`` and of the last one."""
        now, used, first = 0, dict[str, int](), None
        ready: dict[str, tuple[int, Timing]] = {}
        float_free = 0
        for place, instruction in enumerate(code):
            ask = self._timing(instruction)
            last = place == len(code) - 1
            at_border = place == border
            if at_border and taken[0]:
                now, used, first = self._close(now, first) + self.refill[level], {}, None
            earliest = self._earliest(instruction, ask, ready) if level else 0
            if level and ask.float_kind == "other":
                earliest = max(earliest, float_free)
            branch_taken = (last and taken[-1] and instruction.branches) or (place + 1 == border and taken[0])
            fits = (
                first is not None
                and len(used) > 0
                and earliest <= now
                and not ask.alone
                and not ask.older
                and not (level and ask.float_kind == "move" and now < float_free)
                and self.pairs(first, instruction, branch_taken)
                and all(used.get(u, 0) + ask.units.count(u) <= self.units[u] for u in ask.units)
                and not (level == 2 and ask.units[0] in ("load", "store") and (used.get("load") or used.get("store")))
            )
            if fits:
                issued, first = now, None
                now = now + ask.cycles
                used = {}
            else:
                now = max(self._close(now, first), earliest)
                issued, used = now, {}
                for unit in ask.units:
                    used[unit] = used.get(unit, 0) + 1
                used.setdefault("any", 1)
                if ask.alone or ask.cycles > 1:
                    now, first, used = now + ask.cycles, None, {}
                else:
                    first = instruction
            for register in instruction.writes:
                based = instruction.writeback and register in instruction.base
                ready[register] = (issued + (1 if based else ask.latency), ask)
            if ask.blocks_float:
                float_free = issued + ask.blocks_float
        end = self._close(now, first)
        return end + (self.refill[level] if taken[-1] else 0)

    @staticmethod
    def _close(now: int, first: Instruction | None) -> int:
        """The next cycle: the open one is over if something issued in it."""
        return now + 1 if first is not None else now

    @staticmethod
    def _earliest(instruction: Instruction, ask: Timing, ready: dict[str, tuple[int, Timing]]) -> int:
        earliest = 0
        for register in instruction.reads | instruction.addend:
            if register not in ready:
                continue
            when, producer = ready[register]
            if register in instruction.addend and register not in instruction.reads:
                when -= ask.addend_advance
            elif register in ask.early:
                when += 0 if producer.forwards_early else 1
            elif register in ask.late:
                when -= 1
            elif ask.multiplies and producer.loads:
                when += 1
            earliest = max(earliest, when)
        return earliest

    def _timing(self, instruction: Instruction) -> Timing:
        if instruction not in self._seen:
            self._seen[instruction] = self.timing(instruction)
        return self._seen[instruction]
