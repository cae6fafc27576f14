"""Addresses for buffers whose lifetimes are known: as little memory as possible, exactly so for small graphs.

Two buffers that are needed at the same time must not overlap; the length of the memory is to be smallest. No packing is
shorter than the buffers that are live together at some step, so a packing of that length needs no further search. First fit
is tried in several orders; where all are longer and the buffers are few, a branch and bound over all packings decides.

The search looks at packings whose buffers were placed in ascending order of address, each as low as the ones before allow:
pushing the buffers of any packing down, lowest first, gives such a one that is no longer. What is still to be placed at a
step then lies above everything placed there, which bounds the length from below at every node. (The idea of canonical
packings and of this bound is that of Moffitt's MiniMalloc, ASPLOS 2023, named from memory.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

FEW = 24
"""At most so many buffers are packed exactly."""
MOST_NODES = 20_000
"""The search gives up after so many; a count, not a time, so that the same graph is packed alike everywhere."""


@dataclass(frozen=True)
class Buffer:
    """What must be placed."""

    name: str
    """Unique."""
    size: int
    """Entries, a multiple of the alignment."""
    born: int
    """First step at which it is needed."""
    died: int
    """Last step at which it is needed."""

    def meets(self, other: Buffer) -> bool:
        """Are both needed at some step?"""
        return self.born <= other.died and other.born <= self.died


@dataclass(frozen=True)
class Packing:
    """Where the buffers are."""

    offsets: Mapping[str, int]
    """Name -> first entry."""
    size: int
    """Entries that are enough for all."""
    live: int
    """Entries that are live together at some step: no packing is shorter."""
    exact: bool
    """True: no packing is shorter than this one."""


ORDERS: dict[str, Callable[[Buffer], tuple[int, ...]]] = {
    "as defined": lambda _: (),
    "largest first": lambda buffer: (-buffer.size,),
    "longest-lived first": lambda buffer: (buffer.born - buffer.died, -buffer.size),
    "largest area first": lambda buffer: ((buffer.born - buffer.died - 1) * buffer.size,),
}
"""Orders for first fit; of equally short packings the first one counts."""


def pack(buffers: Sequence[Buffer], few: int = FEW, most_nodes: int = MOST_NODES) -> Packing:
    """The shortest packing found; ``exact`` where it is the shortest there is."""
    live = live_together(buffers)
    best = min(
        (first_fit(sorted(buffers, key=order)) for order in ORDERS.values()), key=lambda offsets: _length(buffers, offsets)
    )
    size, proven = _length(buffers, best), False
    if size > live and len(buffers) <= few:
        search = _Search(buffers, size, live, most_nodes)
        search.run()
        proven = search.nodes < most_nodes
        if search.best is not None:
            best, size = search.best, search.length
    return Packing(best, size, live, proven or size == live)


def live_together(buffers: Sequence[Buffer]) -> int:
    """The largest sum of sizes that are needed at one step; sums can only rise where a buffer is born."""
    return max((sum(b.size for b in buffers if b.born <= a.born <= b.died) for a in buffers), default=0)


def first_fit(buffers: Sequence[Buffer]) -> dict[str, int]:
    """Every buffer, in the order given, at the lowest address that is free for its whole life."""
    offsets: dict[str, int] = {}
    placed: list[Buffer] = []
    for buffer in buffers:
        offset = 0
        for low, high in sorted(
            (offsets[other.name], offsets[other.name] + other.size) for other in placed if other.meets(buffer)
        ):
            if offset + buffer.size <= low:
                break
            offset = max(offset, high)
        offsets[buffer.name] = offset
        placed.append(buffer)
    return offsets


def _length(buffers: Sequence[Buffer], offsets: Mapping[str, int]) -> int:
    return max((offsets[buffer.name] + buffer.size for buffer in buffers), default=0)


class _Search:
    """Branch and bound over packings in ascending order of address."""

    def __init__(self, buffers: Sequence[Buffer], length: int, live: int, most_nodes: int) -> None:
        self.buffers, self.length, self.live, self.most_nodes = buffers, length, live, most_nodes
        self.best: dict[str, int] | None = None
        self.nodes = 0
        self.alive = _fullest_steps(buffers)
        self.offsets: dict[int, int] = {}
        """Buffer by its index -> address; the last one is the highest."""
        self.seen: set[tuple[int, ...]] = set()

    def run(self) -> None:
        """Search everything, until a packing as short as ``live`` is found or the nodes are used up."""
        steps = range(1 + max(at for alive in self.alive for at in alive))
        more = [sum(b.size for b, alive in zip(self.buffers, self.alive, strict=True) if at in alive) for at in steps]
        self._descend([0] * len(more), more, 0, 0)

    def _descend(self, tops: list[int], more: list[int], floor: int, done: int) -> None:
        """At every step, ``tops``: the first free address above all that is placed; ``more``: entries not placed yet."""
        if len(self.offsets) == len(self.buffers):
            self.best = {self.buffers[index].name: offset for index, offset in self.offsets.items()}
            self.length = max(tops)
            return
        choices = []
        for index, alive in enumerate(self.alive):
            if index not in self.offsets:
                offset = max(tops[at] for at in alive)
                if offset >= floor:
                    choices.append((offset, -self.buffers[index].size * len(alive), index))
        for offset, _, index in sorted(choices):
            size, above, left = self.buffers[index].size, list(tops), list(more)
            for at in self.alive[index]:
                above[at] = offset + size
                left[at] -= size
            # What is left lies above what is placed, and not below this one.
            low = [max(top, offset) if rest else top for top, rest in zip(above, left, strict=True)]
            state = (done | 1 << index, *low)
            if state in self.seen or max(map(int.__add__, low, left)) >= self.length:
                continue
            self.seen.add(state)
            self.nodes += 1
            if self.nodes >= self.most_nodes or self.length == self.live:
                return
            self.offsets[index] = offset
            self._descend(above, left, offset, done | 1 << index)
            del self.offsets[index]


def _fullest_steps(buffers: Sequence[Buffer]) -> list[list[int]]:
    """For every buffer the steps that it is needed at; a step is left out if another one needs all the same and more."""
    needed = {frozenset(i for i, b in enumerate(buffers) if b.born <= a.born <= b.died): None for a in buffers}
    fullest = [some for some in needed if not any(some < other for other in needed)]
    return [[at for at, some in enumerate(fullest) if index in some] for index in range(len(buffers))]
