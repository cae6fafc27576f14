"""Ctrl-C at a good moment: the first one lets the running iteration end, a second one stops at once."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Self


class Interrupt:
    """While entered, SIGINT only sets :attr:`asked`; the loop then saves its state and calls :meth:`stop`.

    Handlers can be set in the main thread only; elsewhere this does nothing and the last checkpoint stands.
    """

    def __init__(self) -> None:
        self.asked = False

    def __enter__(self) -> Self:
        self._main = threading.current_thread() is threading.main_thread()
        if self._main:
            self._before = signal.signal(signal.SIGINT, self._handle)
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        if self._main:
            signal.signal(signal.SIGINT, self._before)

    def _handle(self, _number: int, _frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True

    @staticmethod
    def stop(message: str) -> None:
        """Raise the interrupt that was held back."""
        raise KeyboardInterrupt(message)
