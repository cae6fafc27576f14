"""The contract of a peer: one way to run one policy, callable step by step.

A module ``on_NAME.py`` offers

    versions() -> dict[str, str]                        what it runs on; raises ImportError or Missing where that is absent
    prepare(subject, scratch) -> list[Contestant]       raises NotOffered for a policy that the runtime cannot take
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Step = Callable[[np.ndarray], np.ndarray]
"""float32 [n], one observation -> float32 [m], the action; the recurrent state stays inside and advances."""
Block = Callable[[int], np.ndarray]
"""How many calls -> nanoseconds of a call, float64, one entry per call or per small group; the observations rotate."""


class NotOffered(Exception):
    """The runtime cannot run this policy; the text is its own message."""


class Missing(Exception):
    """A program or folder that the peer needs is not here; the text names it."""


@dataclass(frozen=True)
class Contestant:
    """One line of the table for one policy."""

    label: str
    """As in the table, such as "LiteRT"."""
    contains: str
    """What a timed call contains, in words."""
    step: Step
    """One decision; used for the check, and timed where ``block`` is None."""
    reset: Callable[[], None]
    """The state goes back to zero."""
    into: Callable[[np.ndarray, np.ndarray], object] | None = None
    """(observation, action): writes the action in place; timed instead of ``step`` where it is given."""
    block: Block | None = None
    """Times calls without Python in between (from C); None: timed from Python."""

    @property
    def caller(self) -> str:
        """ "C" or "Python": who calls, and so whose clock is in the figure."""
        return "Python" if self.block is None else "C"


def time_from_python(contestant: Contestant, rows: list[np.ndarray], calls: int, actions: int) -> np.ndarray:
    """One reading of the clock before and one after each call; both are in the figure. ``actions``: values of an action."""
    if contestant.into is not None:
        return _time_in_place(contestant.into, rows, calls, np.zeros(actions, np.float32))
    step = contestant.step
    times, clock, count = [0] * calls, time.perf_counter_ns, len(rows)
    for index in range(calls):
        row = rows[index % count]
        start = clock()
        step(row)
        times[index] = clock() - start
    return np.asarray(times, np.float64)


def _time_in_place(
    into: Callable[[np.ndarray, np.ndarray], object], rows: list[np.ndarray], calls: int, out: np.ndarray
) -> np.ndarray:
    times, clock, count = [0] * calls, time.perf_counter_ns, len(rows)
    for index in range(calls):
        row = rows[index % count]
        start = clock()
        into(row, out)
        times[index] = clock() - start
    return np.asarray(times, np.float64)


def time_the_clock(calls: int) -> np.ndarray:
    """What :func:`time_from_python` shows where nothing is called."""
    times, clock = [0] * calls, time.perf_counter_ns
    for index in range(calls):
        start = clock()
        times[index] = clock() - start
    return np.asarray(times, np.float64)


def nothing() -> None:
    """The reset of a policy without state."""
