"""A budget as people write it: 90s, 15m, 2h or 200 trials."""

from __future__ import annotations

import re
from dataclasses import dataclass

from ...errors import BadInput

_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
MOST_SECONDS = 60 * _SECONDS["d"]
MOST_TRIALS = 1_000_000


@dataclass(frozen=True)
class Budget:
    """One of both."""

    seconds: float | None = None
    """Wall time in which candidates are begun."""
    trials: int | None = None
    """Candidates of both arms together."""


def budget_of(text: str) -> Budget:
    """Raises BadInput for what is none."""
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|m|h|d|trials?)\s*", text)
    if found:
        number, unit = float(found[1]), found[2]
        if unit in _SECONDS and 0 < number * _SECONDS[unit] <= MOST_SECONDS:
            return Budget(seconds=number * _SECONDS[unit])
        if unit.startswith("trial") and number == int(number) and 0 < number <= MOST_TRIALS:
            return Budget(trials=int(number))
    raise BadInput("budget", expected='a time or a number of candidates, such as 90s, 15m, 2h or "200 trials"', found=repr(text))
