"""Processes that search side by side; they know of each other only through the study's journal."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess

from ...errors import PilotfishError
from .study import ARMS, Study
from .worker import Plan, work

LOOK_EVERY_S = 0.5
RESTARTS = 3
"""A process that dies (out of memory, a simulator's crash) is replaced so often; its candidate is recorded as failed."""


def jobs_for(wanted: int) -> int:
    """``wanted``, or with 0 one process per core that is ours."""
    return wanted or (len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def search_with(plan: Plan, jobs: int, told: Callable[[Study], None]) -> None:
    """Work with ``jobs`` processes (0: one per core) until the budget is spent; ``told`` is called with the study now and then.

    Ctrl-C ends the processes; what they were at is recorded as failed, everything finished stays.
    """
    context, jobs = multiprocessing.get_context("spawn"), jobs_for(jobs)
    watched, restarts = plan.study(), RESTARTS * jobs

    def started(number: int) -> BaseProcess:
        process = context.Process(target=_take_part, args=(plan, number, os.getpid()), name=f"search-{number}", daemon=True)
        process.start()
        return process

    processes = [started(number) for number in range(jobs)]
    try:
        while any(process.is_alive() for process in processes):
            time.sleep(LOOK_EVERY_S)
            for number, process in enumerate(processes):
                if process.exitcode and restarts:
                    restarts -= 1
                    watched.bury({process.pid or 0: cause_of_death(process.exitcode)})
                    processes[number] = started(number)
            told(watched)
    finally:
        causes = {process.pid or 0: cause_of_death(process.exitcode) for process in processes}
        for process in processes:
            process.terminate()
            process.join()
        watched.bury(causes)
    told(watched)
    if all(process.exitcode for process in processes):
        raise PilotfishError(f"every process of the search died, after {RESTARTS * jobs} restarts; their last words stand above")


def cause_of_death(exitcode: int | None) -> str:
    """In words; None: it was alive and is stopped now."""
    if exitcode is None:
        return "the search was interrupted"
    if exitcode >= 0:
        return f"its process ended with status {exitcode}"
    try:
        name = signal.Signals(-exitcode).name
    except ValueError:
        name = f"signal {-exitcode}"
    return f"its process died of {name}" + (" (out of memory?)" if -exitcode == signal.SIGKILL else "")


def _take_part(plan: Plan, number: int, parent: int) -> None:
    """A process's life: Ctrl-C is for the one who started the search, and nobody works on after that one is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    work(plan, number, lambda: os.getppid() == parent)


def finished(study: Study) -> int:
    """Candidates of both arms."""
    return sum(len(study.outcomes(arm)) for arm in ARMS)
