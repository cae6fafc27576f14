"""Entries picked from a vector by constant indices: Gather, and Slice with a step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..graph import Graph, Node
from .operator import Printed, Scope, pointers

MOST_INDEXED = 1 << 16
"""Inputs that a table of uint16 indices can name."""


@dataclass
class Gather(Printed):
    """y[i] = x[indices[i]]"""

    indices: tuple[int, ...] = ()

    @classmethod
    def read(cls, node: Node, graph: Graph) -> Gather:
        """Gather(data [1, n] along its last axis, or [n], constant indices); negative ones count from the end."""
        size, wanted = graph.sizes[node.inputs[0]], graph.sizes[node.outputs[0]]
        indices = graph.integers(node, node.inputs[1])
        if len(indices) != wanted:
            # Along an axis of length 1 the only index there is picks everything.
            if set(indices) <= {0, -1} and len(indices) == 1:
                return cls(node, node.inputs[:1], wanted, tuple(range(size)))
            raise node.refuse(f"one index for each of {wanted} entries", f"{len(indices)}")
        return cls.of(node, size, indices)

    @classmethod
    def of(cls, node: Node, size: int, indices: list[int]) -> Gather:
        """The operator for given ``indices`` into ``size`` entries."""
        outside = [i for i in indices if not -size <= i < size]
        if outside or size > MOST_INDEXED:
            raise node.refuse(f"indices into {size} entries, of at most {MOST_INDEXED}", f"{outside[:4] or size}")
        return cls(node, node.inputs[:1], len(indices), tuple(i % size for i in indices))

    def print(self, scope: Scope) -> list[str]:
        steps = {b - a for a, b in zip(self.indices, self.indices[1:], strict=False)}
        if len(steps) <= 1:
            step = steps.pop() if steps else 0
            where = f"{self.indices[0]} + {step} * i" if step >= 0 else f"{self.indices[0]} - {-step} * i"
        else:
            kept = np.array(self.indices, np.uint16)
            where = f"{scope.table(f'{self.node.name}_indices', kept, f'{len(kept)} indices')}[i]"
        return [
            *pointers(scope, self.output, x=self.reads[0]),
            f"for (int i = 0; i < {self.size}; ++i) y[i] = x[{where}];",
        ]
