"""The process of one peer: prepares policies, checks them against the reference, times blocks of calls on request.

    python -m peers.worker PEER SCRATCH

Requests and answers are lines of JSON on stdin and on the file descriptor that stdout was at the start; whatever a
runtime prints goes to stderr, so that it cannot garble the answers.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from .contestant import Contestant, Missing, NotOffered, time_from_python, time_the_clock
from .subject import Subject

WARM_UP = 40
"""Untimed calls at the start of a block: others have used the caches since the last one."""
FIRST_WARM_UP = 300
"""Untimed calls before the first block of a contestant, which also tell how many calls fit into a block."""
FEWEST, MOST = 40, 2000
"""Calls of a block."""


class Worker:
    """What is prepared in this process."""

    def __init__(self, module: ModuleType, scratch: Path) -> None:
        self.module, self.scratch = module, scratch
        self.contestants: dict[tuple[str, str], Contestant] = {}
        self.rows: dict[str, list[np.ndarray]] = {}
        self.actions: dict[str, int] = {}
        self.typical_ns: dict[tuple[str, str], float] = {}

    def prepare(self, folder: str) -> dict[str, Any]:
        """Make the contestants of one subject and check each."""
        subject = Subject.load(Path(folder))
        start = time.perf_counter()
        place = self.scratch / subject.name
        place.mkdir(exist_ok=True)
        try:
            made = self.module.prepare(subject, place)
        except NotOffered as error:
            return {"contestants": [], "not_offered": str(error)}
        self.rows[subject.name] = [np.ascontiguousarray(row) for row in subject.observations]
        self.actions[subject.name] = subject.sizes[2]
        answers = []
        for contestant in made:
            self.contestants[subject.name, contestant.label] = contestant
            deviation = check(contestant, subject)
            answers.append(
                {
                    "label": contestant.label,
                    "caller": contestant.caller,
                    "contains": contestant.contains,
                    "deviation": deviation,
                    "right": bool(deviation <= subject.tolerance),
                }
            )
        gc.collect()
        gc.freeze()
        return {"contestants": answers, "seconds": time.perf_counter() - start}

    def block(self, subject: str, label: str, budget_ms: float) -> dict[str, Any]:
        """Time one block of about ``budget_ms``."""
        key = subject, label
        contestant = self.contestants[key]
        if key not in self.typical_ns:
            self._time(contestant, subject, 3)
            self.typical_ns[key] = max(1.0, float(np.median(self._time(contestant, subject, 20))))
            fitting = int(np.clip(20 * budget_ms * 1e6 / self.typical_ns[key], 20, FIRST_WARM_UP))
            self.typical_ns[key] = max(1.0, float(np.median(self._time(contestant, subject, fitting))))
        calls = int(np.clip(budget_ms * 1e6 / self.typical_ns[key], FEWEST, MOST))
        self._time(contestant, subject, min(WARM_UP, calls))
        times = self._time(contestant, subject, calls)
        return {"median_ns": float(np.median(times)), "p99_ns": float(np.percentile(times, 99)), "calls": calls}

    def clock(self) -> dict[str, Any]:
        """What the clocks of this process show around nothing."""
        answer = {"Python": float(np.median(time_the_clock(MOST)))}
        native = sys.modules.get("peers.native")
        if native is not None:
            answer["C"] = float(np.median(native.stopwatch(self.scratch).empty(MOST)))
        return answer

    def _time(self, contestant: Contestant, subject: str, calls: int) -> np.ndarray:
        if contestant.block is not None:
            return contestant.block(calls)
        return time_from_python(contestant, self.rows[subject], calls, self.actions[subject])


def check(contestant: Contestant, subject: Subject) -> float:
    """Largest deviation from the float64 reference over all rows in order from a reset; infinite if it is not finite."""
    contestant.reset()
    # Copied one by one: a contestant may hand out the same array each time.
    found = np.stack([np.array(contestant.step(row), np.float64).reshape(-1) for row in subject.observations])
    contestant.reset()
    if found.shape != subject.expected.shape or not np.isfinite(found).all():
        return float("inf")
    return float(np.abs(found - subject.expected).max())


def main() -> None:
    """Answer requests until stdin ends."""
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    name, scratch = sys.argv[1], Path(sys.argv[2])

    def answer(value: dict[str, Any]) -> None:
        answers.write(json.dumps(value) + "\n")

    try:
        module = importlib.import_module(f"peers.on_{name}")
        answer({"versions": module.versions()})
    except ModuleNotFoundError as error:
        return answer({"missing": f"the Python package {error.name}"})
    except (Missing, ImportError) as error:
        return answer({"missing": str(error)})
    gc.disable()
    worker = Worker(module, scratch)
    for line in sys.stdin:
        request = json.loads(line)
        verb = request.pop("do")
        try:
            answer(getattr(worker, verb)(**request))
        except Exception as error:  # noqa: BLE001 whatever a runtime throws belongs in the table, not only in a log
            answer({"error": f"{type(error).__name__}: {error}".strip().splitlines()[0][:300]})
    return None


if __name__ == "__main__":
    main()
