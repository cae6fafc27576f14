"""The static memory plan: where every value lives, so that one arena of fixed size is enough.

A *view* (Split, Reshape …) shares the place of its input. An in-place operator may take the place of an input
that nobody reads afterwards. Everything else gets a buffer of its own; buffers whose lifetimes do not meet
share addresses (packing.py). Each kind of number has an arena of its own, so that no memory is ever read as two
types.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .graph import Kind
from .packing import Buffer, Packing, pack

BYTES: dict[Kind, int] = {"float": 4, "int8_t": 1, "int16_t": 2}
"""Bytes of one entry."""


@dataclass(frozen=True)
class Step:
    """What the planner must know about one operation."""

    reads: tuple[str, ...]
    """Values that it reads (constants left out)."""
    writes: tuple[str, ...]
    """Values that it computes."""
    views: Mapping[str, tuple[str, int]]
    """Output -> (input, offset in values): nothing is computed, the output is that part of the input."""
    in_place: bool = False
    """When entry i of an output is written, only entries beyond i of same-sized inputs are still to be read."""


@dataclass(frozen=True)
class Place:
    """Where a value lives."""

    base: str
    """Name of the buffer: the value that it was made for, or a graph input."""
    offset: int
    """First value inside the buffer."""
    size: int
    """Number of values."""

    def meets(self, other: Place) -> bool:
        """Do the two share memory, as far as one buffer is concerned?"""
        return self.base == other.base and self.offset < other.offset + other.size and other.offset < self.offset + self.size


@dataclass(frozen=True)
class Plan:
    """The result."""

    places: Mapping[str, Place]
    """Every value, inputs included."""
    offsets: Mapping[str, int]
    """Buffer -> first entry in the arena of its kind; graph inputs are not in it."""
    packings: Mapping[Kind, Packing]
    """How the buffers of each kind share its arena."""

    @property
    def arenas(self) -> dict[Kind, int]:
        """Kind -> length of its arena in entries."""
        return {kind: packing.size for kind, packing in self.packings.items()}

    @property
    def arena_size(self) -> int:
        """Length of the arena of floats."""
        return self.arenas.get("float", 0)

    def span(self, name: str) -> tuple[int, int] | None:
        """[start, stop) of a value in the arena, or None if it lives in a graph input."""
        place = self.places[name]
        if place.base not in self.offsets:
            return None
        start = self.offsets[place.base] + place.offset
        return start, start + place.size


def last_uses(steps: Sequence[Step], outputs: Sequence[str]) -> dict[str, int]:
    """Value -> index of the last step that reads it; ``len(steps)`` for graph outputs."""
    last: dict[str, int] = {}
    for index, step in enumerate(steps):
        last |= dict.fromkeys(step.writes, index) | dict.fromkeys(step.views, index) | dict.fromkeys(step.reads, index)
    return last | dict.fromkeys(outputs, len(steps))


def plan(
    inputs: Mapping[str, int],
    steps: Sequence[Step],
    sizes: Mapping[str, int],
    outputs: Sequence[str],
    align_bytes: int = 1,
    kinds: Mapping[str, Kind] | None = None,
) -> Plan:
    """Place every value. ``align_bytes``: every buffer starts at, and is padded to, a multiple of it.

    ``kinds``: what values consist of, float where it says nothing.
    """
    kinds = kinds or {}
    last = last_uses(steps, outputs)
    places, born = _shared(inputs, steps, sizes, last, kinds)
    died = dict(born)
    for name, place in places.items():
        if place.base in died:
            died[place.base] = max(died[place.base], last.get(name, 0))
    buffers: dict[Kind, list[Buffer]] = {}
    for name, start in born.items():
        kind = kinds.get(name, "float")
        buffers.setdefault(kind, []).append(Buffer(name, _padded(sizes[name], kind, align_bytes), start, died[name]))
    packings = {kind: pack(those) for kind, those in buffers.items()}
    offsets = {name: offset for packing in packings.values() for name, offset in packing.offsets.items()}
    return Plan(places, offsets, packings)


def _shared(
    inputs: Mapping[str, int],
    steps: Sequence[Step],
    sizes: Mapping[str, int],
    last: Mapping[str, int],
    kinds: Mapping[str, Kind],
) -> tuple[dict[str, Place], dict[str, int]]:
    """(place of every value inside its buffer, buffer -> step that writes it first)"""
    places = {name: Place(name, 0, size) for name, size in inputs.items()}
    born: dict[str, int] = {}
    for index, step in enumerate(steps):
        for name, (source, offset) in step.views.items():
            places[name] = Place(places[source].base, places[source].offset + offset, sizes[name])
        for name in step.writes:
            reused = _reusable(index, step, name, places, last, inputs, sizes, kinds)
            places[name] = reused or Place(name, 0, sizes[name])
            if reused is None:
                born[name] = index
    return places, born


def _padded(size: int, kind: Kind, align_bytes: int) -> int:
    align = max(1, align_bytes // BYTES[kind])
    return -(-size // align) * align


def _reusable(
    index: int,
    step: Step,
    name: str,
    places: Mapping[str, Place],
    last: Mapping[str, int],
    inputs: Mapping[str, int],
    sizes: Mapping[str, int],
    kinds: Mapping[str, Kind],
) -> Place | None:
    """The place of an input that dies here and that nobody else still reads, or None."""
    if not step.in_place:
        return None
    for source in step.reads:
        place = places[source]
        if place.base in inputs or sizes[source] != sizes[name] or last[source] > index:
            continue
        if kinds.get(place.base, "float") != kinds.get(name, "float"):  # a view is of its buffer's kind, whatever it is called
            continue
        others = (v for v, p in places.items() if v != source and p.meets(place))
        clashes = any(places[r] != place and places[r].meets(place) for r in step.reads)
        if not clashes and all(last.get(v, 0) <= index for v in others):
            return place
    return None
