"""What it costs that a table must come from beyond the first-level cache in every call."""

from __future__ import annotations

CACHE_BYTES = 32768
"""First-level data cache of most processors with vector registers; a table that is larger, read from end to end, finds
nothing left of itself."""
LINE_BYTES = 64
CYCLES_PER_LINE = 1.3
"""Fitted to dense layers of 256 x 256 and 512 x 512 on an x86-64 core (benchmarks/kernel_costs.py): their weights come
from the second-level cache, and cost two and a half times what weights in the first cost."""


def stream_cycles(table_bytes: int) -> float:
    """Cycles by which a call takes longer for a table of ``table_bytes`` than for one in the first-level cache."""
    return 0.0 if table_bytes <= CACHE_BYTES else CYCLES_PER_LINE * table_bytes / LINE_BYTES
