"""The tight loop: one decision after the other, each timed by itself, until there are enough or the time is over."""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Callable, Iterator

import numpy as np

from ..c_session import CSession
from ..place import Progress
from ..session import Session

CHUNK = 1_000
"""Calls between two looks at the clock, the progress bar and Ctrl-C."""
MAX_TIGHT_SECONDS = 10.0
"""A slow policy gets fewer calls; every figure says how many."""


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """No garbage collection inside: a control loop switches it off too, or pays for it in its tail."""
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def timer_overhead_ns() -> float:
    """What two neighboring clock reads measure when nothing lies between them: the median of 2,000."""
    now = time.perf_counter_ns
    empty = []
    for _ in range(2_000):
        begin = now()
        empty.append(now() - begin)
    return float(np.median(empty))


def first_call_us(act: Callable[[np.ndarray], np.ndarray], obs: np.ndarray) -> float:
    """The cold first call in microseconds."""
    now = time.perf_counter_ns
    begin = now()
    act(obs)
    return (now() - begin) / 1e3


def time_calls(session: Session, rows: list[np.ndarray], calls: int, progress: Progress | None) -> np.ndarray:
    """Microseconds of each call, float64 [<= calls]; stops early after MAX_TIGHT_SECONDS."""
    session.reset()
    now, act, count = time.perf_counter_ns, session.act, len(rows)
    elapsed: list[int] = []
    stop = now() + int(MAX_TIGHT_SECONDS * 1e9)
    while len(elapsed) < calls:
        done = len(elapsed)
        for k in range(done, min(done + CHUNK, calls)):
            obs = rows[k % count]
            begin = now()
            act(obs)
            end = now()
            elapsed.append(end - begin)
            if end > stop:
                break
        if progress:
            progress(len(elapsed), calls)
        if now() > stop:
            break
    return np.asarray(elapsed, np.float64) / 1e3


def time_inside(
    session: CSession, observations: np.ndarray, calls: int, progress: Progress | None, function: str = "policy_time"
) -> np.ndarray | None:
    """The same by the library's own loop, the ``function``; None where it has none."""
    parts: list[np.ndarray] = []
    done, stop = 0, time.perf_counter() + MAX_TIGHT_SECONDS
    chunk = 16  # grows to CHUNK: the library cannot be interrupted, and the first chunks say how slow it is
    while done < calls and time.perf_counter() < stop:
        size = min(chunk, calls - done)
        # Each chunk goes on where the last one ended, so that all observations take part.
        part = session.time_native(np.roll(observations, -(done % len(observations)), axis=0), size, function)
        if part is None:
            return None
        parts.append(part)
        done += size
        if part.sum() < 0.05e9:
            chunk = min(CHUNK, chunk * 4)
        if progress:
            progress(done, calls)
    return np.concatenate(parts).astype(np.float64) / 1e3
