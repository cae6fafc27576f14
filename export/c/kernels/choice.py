"""What is recorded of the choice of a kernel: which one a layer got, and what the others would have cost."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Choice:
    """Which kernel a layer got, and what the others would have cost."""

    layer: str
    """Name of the weights."""
    shape: tuple[int, int]
    """(outputs, inputs)"""
    live: int
    """Weights that are not zero."""
    kernel: str
    """The chosen kernel."""
    cycles: dict[str, float]
    """Kernel -> estimated cycles, of every kernel that could have done it."""
    table_bytes: dict[str, int] = field(default_factory=dict)
    """Kernel -> flash, where that decided: for weights of fewer than 8 bits."""

    def __str__(self) -> str:
        rows, columns = self.shape
        sparse = self.kernel.startswith("dense") and self.live < rows * columns / 2
        note = "; sparse, but the dense loop is cheaper on this machine" if sparse else ""
        cheapest = min(self.cycles, key=lambda name: self.cycles[name])
        if self.table_bytes and cheapest != self.kernel:
            note += f"; {self.table_bytes[self.kernel]:,} bytes of flash in place of {self.table_bytes[cheapest]:,}"
        others = ", ".join(f"{name} {cycles:,.0f}" for name, cycles in sorted(self.cycles.items(), key=lambda item: item[1]))
        return f"{self.layer} {rows} x {columns}, {self.live} weights: {self.kernel} (estimated cycles: {others}){note}"
