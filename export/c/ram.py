"""What a generated policy needs of RAM: its arenas, the caller's state, and how little could be enough."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .graph import Kind
from .memory import BYTES, Plan


@dataclass(frozen=True)
class Ram:
    """Static memory in bytes. The stack, observation and action are not in it."""

    arenas: Mapping[Kind, int]
    """Kind of number -> length of its arena in entries; never without one of floats."""
    state: int
    """float32 values that the caller keeps between two decisions."""
    live_bytes: int
    """Scratch that is in use at the fullest step of each kind: no arrangement of the same buffers needs less."""
    exact: bool
    """True: no arrangement of the same buffers is shorter than the arenas."""

    @staticmethod
    def of(plan: Plan, state: int) -> Ram:
        """The RAM of a plan and ``state`` values."""
        # The arena of floats is always there, so that a policy without any is no special case.
        arenas: dict[Kind, int] = {"float": 1}
        arenas |= {kind: size for kind, size in plan.arenas.items() if size}
        live = sum(packing.live * BYTES[kind] for kind, packing in plan.packings.items())
        return Ram(arenas, state, live, all(packing.exact for packing in plan.packings.values()))

    @property
    def arena_bytes(self) -> int:
        """All arenas together."""
        return sum(size * BYTES[kind] for kind, size in self.arenas.items())

    @property
    def state_bytes(self) -> int:
        """The caller's state."""
        return 4 * self.state

    @property
    def static_bytes(self) -> int:
        """Everything that stays between two decisions, used or not."""
        return self.arena_bytes + self.state_bytes

    def __str__(self) -> str:
        parts = ", ".join(f"{kind} {size * BYTES[kind]:,}" for kind, size in self.arenas.items())
        shortest = "no packing is shorter" if self.exact else "perhaps not the shortest packing"
        return (
            f"{self.static_bytes:,} bytes static: {self.arena_bytes:,} of scratch ({parts}; {self.live_bytes:,} live at once, "
            f"{shortest}) and {self.state_bytes:,} of state"
        )
