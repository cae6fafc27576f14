"""Which of several sizes each layer gets, so that all together stay within a number of weights and err least."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Generic, NamedTuple, TypeVar

T = TypeVar("T")
HALVINGS = 60


class Option(NamedTuple, Generic[T]):
    """One way of making a layer."""

    size: int
    """Weights."""
    error: float
    """Squared error as a share of the whole; 0 for the layer as it is."""
    value: T
    """What makes it."""


def allot(options: Mapping[str, Sequence[Option[T]]], budget: int) -> dict[str, Option[T]] | None:
    """Name -> the option of each layer, with the smallest sum of errors for a price per weight, which is as low as the budget
    allows (Lagrange); None where even the smallest options are too large.
    """

    def at(price: float) -> dict[str, Option[T]]:
        return {name: min(some, key=lambda one: (one.error + price * one.size, one.size)) for name, some in options.items()}

    def size(chosen: Mapping[str, Option[T]]) -> int:
        return sum(option.size for option in chosen.values())

    smallest = {name: min(some, key=lambda option: (option.size, option.error)) for name, some in options.items()}
    if size(smallest) > budget:
        return None
    low, high = -20.0, 5.0
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if size(at(10.0**middle)) <= budget else (middle, high)
    chosen = at(10.0**high)
    chosen = chosen if size(chosen) <= budget else smallest
    # Prices leave gaps: what is left of the budget goes where it helps most.
    while True:
        left = budget - size(chosen)
        better = [
            (chosen[name].error - option.error, name, option)
            for name, some in options.items()
            for option in some
            if option.error < chosen[name].error and option.size - chosen[name].size <= left
        ]
        if not better:
            return chosen
        _, name, option = max(better, key=lambda entry: entry[0])
        chosen[name] = option
