"""What a slow flash adds: stall cycles of code fetches and of data reads through small line caches.

The model: a read of a line that is not held costs the wait states; lines are replaced least recently used first (our
understanding of the STM32F4's ART accelerator, not checked against its manual); a code line that follows its predecessor was
prefetched while the predecessor executed, so only the rest of the wait is paid. Both caches start empty: between two
decisions the rest of the firmware has run. docs/validation.md compares estimates that contain it with hardware.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from ..profile import Cost


class LineCache:
    """Least-recently-used lines of flash; ``lines`` = 0 holds nothing."""

    def __init__(self, lines: int) -> None:
        self.lines = lines
        self._held: dict[int, None] = {}  # a dict keeps insertion order: the first key is the oldest

    def miss(self, line: int) -> bool:
        """Touch ``line``; True where it had to be read from flash."""
        held = self._held
        if line in held:
            del held[line]
            held[line] = None
            return False
        if self.lines:
            if len(held) >= self.lines:
                del held[next(iter(held))]
            held[line] = None
        return True


def data_stalls(reads: Iterable[int], cost: Cost) -> int:
    """Stall cycles of data reads from flash, given their addresses in order."""
    if cost.flash_wait_states == 0:
        return 0
    lines = [address // cost.flash_line_bytes for address in reads]
    if (different := len(set(lines))) <= cost.data_lines:
        return cost.flash_wait_states * different  # none is ever replaced
    cache = LineCache(cost.data_lines)
    return cost.flash_wait_states * sum(map(cache.miss, lines))


def code_stalls(visits: Iterable[tuple[tuple[int, int], ...]], cost: Cost) -> int:
    """Stall cycles of code fetches; each visit is a block as (line, cycles that its instructions there take)."""
    wait = cost.flash_wait_states
    if wait == 0:
        return 0
    cache = LineCache(cost.instruction_lines)
    # Without a cache there is still the line being executed from.
    current, spent, stalls = -1, 0, 0
    for visit in visits:
        for line, cycles in visit:
            if line == current:
                spent += cycles
                continue
            if cache.miss(line):
                stalls += max(0, wait - spent) if line == current + 1 else wait
            current, spent = line, cycles
    return stalls


Visit = tuple[tuple[int, int], ...]


def block_stalls(visits: Sequence[Visit], order: Sequence[int] | npt.NDArray[np.intp], cost: Cost) -> int:
    """:func:`code_stalls` of ``visits[k] for k in order``; soft float makes hundreds of thousands of them, of few blocks.

    Where all lines fit into the cache none is ever replaced, and only a block's first visit can stall.
    """
    wait, held = cost.flash_wait_states, set[int]()
    if wait == 0:
        return 0
    if len({line for visit in visits for line, _ in visit}) > cost.instruction_lines:
        return code_stalls((visits[k] for k in np.asarray(order).tolist()), cost)
    stalls = 0
    for at in np.sort(np.unique(order, return_index=True)[1]).tolist():
        current, spent = _before(visits, order, at, wait)
        for line, cycles in visits[order[at]]:
            if line == current:
                spent += cycles
                continue
            if line not in held:
                held.add(line)
                stalls += max(0, wait - spent) if line == current + 1 else wait
            current, spent = line, cycles
    return stalls


def _before(visits: Sequence[Visit], order: Sequence[int] | npt.NDArray[np.intp], at: int, enough: int) -> tuple[int, int]:
    """(line that the core is in before visit ``at``, cycles spent in it without a break), counted up to ``enough``; -1: none."""
    current, spent = -1, 0
    for k in range(at - 1, -1, -1):
        for line, cycles in reversed(visits[order[k]]):
            if current not in (-1, line):
                return current, spent
            current, spent = line, spent + cycles
            if spent >= enough:
                return current, spent
    return current, spent
