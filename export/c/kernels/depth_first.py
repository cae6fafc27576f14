"""The order in which straight-line code computes units: each as late as possible, so that few wait in registers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def depth_first(weights: Sequence[np.ndarray], wanted: Sequence[int]) -> list[tuple[int, int]]:
    """(layer, unit) of the units ``wanted`` of the last layer and of everything that they need, needs first.

    ``weights``: [out, in] of each layer, first to last. Of the wanted units, the one that needs the fewest new ones
    comes next.
    """
    sources = [[np.flatnonzero(row).tolist() for row in weight] for weight in weights]
    top = len(weights) - 1
    order: list[tuple[int, int]] = []
    done: set[tuple[int, int]] = set()

    def compute(layer: int, unit: int) -> None:
        if (layer, unit) in done:
            return
        if layer > 0:
            for source in sources[layer][unit]:
                compute(layer - 1, source)
        done.add((layer, unit))
        order.append((layer, unit))

    missing = {unit: set(sources[top][unit]) if top else set() for unit in wanted}
    readers: dict[int, list[int]] = {}
    for unit, units in missing.items():
        for source in units:
            readers.setdefault(source, []).append(unit)
    left = set(wanted)
    while left:
        unit = min(left, key=lambda u: (len(missing[u]), u))
        left.remove(unit)
        for source in tuple(missing[unit]):
            for reader in readers[source]:
                missing[reader].discard(source)
        compute(top, unit)
    return order
