"""What a person sees while it trains: a bar with return, speed and time left; and TensorBoard scalars for later."""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class Bar:
    """A progress bar on standard error. Where that is no terminal, a plain line now and then; ``shown`` False: nothing."""

    LINE_EVERY_S = 20.0

    def __init__(self, title: str, total: int, unit: str = "steps", shown: bool = True) -> None:
        self.title, self.total, self.unit = title, total, unit
        self.console = Console(stderr=True)
        self.shown = shown
        self._live = shown and self.console.is_terminal
        self._progress = Progress(
            TextColumn("[bold]{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[text]}"),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=self.console,
            disable=not self._live,
            transient=True,
        )
        self._task = self._progress.add_task(title, total=total, text="")
        self._line_at = time.monotonic() + self.LINE_EVERY_S

    def update(self, done: int, text: str) -> None:
        """``done`` of the total, with a few words such as the return and steps/s."""
        if self._live:
            self._progress.update(self._task, completed=done, text=text)
        elif self.shown and time.monotonic() >= self._line_at:
            self._line_at = time.monotonic() + self.LINE_EVERY_S
            self.say(f"{self.title}: {done:,}/{self.total:,} {self.unit} {text}")

    def say(self, line: str) -> None:
        """One line that stays."""
        if self.shown:
            self.console.print(line, markup=False, highlight=False, soft_wrap=True)

    def __enter__(self) -> Self:
        if self._live:
            self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None) -> None:
        if self._live:
            self._progress.stop()


class Watcher(Protocol):
    """Who is told how a training goes."""

    def add(self, scalars: dict[str, float], step: int) -> None:
        """Names such as "loss/policy" -> values at this environment step."""

    def close(self) -> None:
        """No more will come."""


class Scalars:
    """TensorBoard event files in ``folder``; without the tensorboard package nothing is written, and ``missing`` says so."""

    def __init__(self, folder: Path, purge_step: int | None = None) -> None:
        self.missing = importlib.util.find_spec("tensorboard") is None
        self._writer: Any = None
        if not self.missing:
            from torch.utils.tensorboard import SummaryWriter

            self._writer = SummaryWriter(str(folder), purge_step=purge_step)

    def add(self, scalars: dict[str, float], step: int) -> None:
        """Names such as "loss/policy" -> values at this environment step."""
        if self._writer is not None:
            for name, value in scalars.items():
                self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        """Flush."""
        if self._writer is not None:
            self._writer.close()
