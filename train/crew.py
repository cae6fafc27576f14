"""Two threads that share one gradient step: each takes whole pieces of it, and the pieces do not depend on the threads.

torch's own threads meet again after every operation and wait for each other busily: on two quiet cores that pays for
large products, on busy ones a training slows down several times. These meet a few times per gradient step, and sleep.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import Any, TypeVar

import torch

T = TypeVar("T")
Task = Callable[[], Any]


class Crew:
    """Runs pieces of work in turn, or where ``threads`` is 2, on two threads at once; what they compute is the same."""

    def __init__(self, threads: int) -> None:
        self.threads = threads

    def run(self, tasks: Sequence[Callable[[], T]]) -> list[T]:
        """The tasks' results in their order; an exception of one is raised here, once none runs any more."""
        if self.threads == 1 or len(tasks) == 1:
            return [task() for task in tasks]
        helper = _Helper.get()
        helper.tasks.put(tasks[1::2])
        try:
            mine = [task() for task in tasks[::2]]
        finally:
            answer = helper.answers.get()
        if isinstance(answer, BaseException):
            raise answer
        results: list[T] = [mine[0]] * len(tasks)
        results[::2], results[1::2] = mine, answer
        return results


class _Helper:
    """The second thread of this process: started when first needed, asleep when there is nothing to do."""

    _one: _Helper | None = None

    def __init__(self) -> None:
        self.tasks: SimpleQueue[Sequence[Task]] = SimpleQueue()
        self.answers: SimpleQueue[Any] = SimpleQueue()
        threading.Thread(target=self._work, name="pilotfish-crew", daemon=True).start()

    @classmethod
    def get(cls) -> _Helper:
        """The one helper."""
        if cls._one is None:
            cls._one = cls()
        return cls._one

    @classmethod
    def forget(cls) -> None:
        """A forked child has no such thread."""
        cls._one = None

    @torch.no_grad()
    def _work(self) -> None:
        torch.set_num_threads(1)  # a new thread does not inherit this, and would call torch's own threads to its products
        while True:
            tasks = self.tasks.get()
            try:
                self.answers.put([task() for task in tasks])
            except BaseException as error:  # noqa: BLE001 - the caller waits for an answer, and raises it
                self.answers.put(error)


os.register_at_fork(after_in_child=_Helper.forget)
