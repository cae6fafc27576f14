"""Trackers: a training told to a service that people compare trainings in, beside the TensorBoard files."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ... import __version__, sealed
from ...errors import BadInput
from ..config import PPOConfig, SACConfig, TD3Config
from .mlflow import MLflow
from .wandb import WeightsAndBiases

EVERY_S = 2.0
"""Seconds between two messages to a tracker: an iteration takes milliseconds, a message to a server may take as many."""
AT_ONCE = ("evaluation/return", "final/return")
"""What is not held back."""


@dataclass(frozen=True)
class Facts:
    """What a tracker knows of a training before it begins."""

    title: str
    """For people."""
    settings: dict[str, Any]
    """Every setting, plain values."""
    folder: Path
    """The run's folder."""
    known: str | None
    """Id that the tracker gave to this run when it began; None: it begins now."""


class Tracker(Protocol):
    """One service. A new one is a short file with such a class and a line in :data:`TRACKERS`."""

    run_id: str
    """What finds the run again."""
    errors: tuple[type[Exception], ...]
    """What :meth:`send` and :meth:`end` raise where the service cannot be reached any more."""

    def __init__(self, facts: Facts) -> None:
        """Begin the run or go on with it. MissingTool without the package, Unreachable where the service is not there."""

    @staticmethod
    def prepare() -> None:
        """What must not happen in several trainings at once; raises as beginning a run does."""

    def send(self, scalars: dict[str, float], step: int) -> None:
        """Values at an environment step."""

    def end(self, finished: bool) -> None:
        """No more will come; ``finished`` False: interrupted, and may go on."""


TRACKERS: dict[str, type[Tracker]] = {"mlflow": MLflow, "wandb": WeightsAndBiases}
"""Value of the setting ``tracker`` -> what it starts."""


class Telling:
    """A watcher of the training that passes the latest values on now and then; a service that fails ends the telling alone."""

    def __init__(self, tracker: Tracker, say: Callable[[str], None]) -> None:
        self.tracker, self.say = tracker, say
        self._waiting: dict[str, float] = {}
        self._step, self._sent_at = 0, time.monotonic()
        self._lost = self._finished = False

    def add(self, scalars: dict[str, float], step: int) -> None:
        """Names such as "loss/policy" -> values at this environment step."""
        self._waiting |= scalars
        self._step = step
        self._finished = self._finished or "final/return" in scalars
        if time.monotonic() - self._sent_at > EVERY_S or any(name in scalars for name in AT_ONCE):
            self._send()

    def close(self) -> None:
        """Send the rest."""
        self._send()
        self._try(lambda: self.tracker.end(self._finished))

    def _send(self) -> None:
        if self._waiting:
            values, self._waiting = self._waiting, {}
            self._try(lambda: self.tracker.send(values, self._step))
        self._sent_at = time.monotonic()

    def _try(self, action: Callable[[], None]) -> None:
        if self._lost:
            return
        try:
            action()
        except self.tracker.errors as error:
            self._lost = True
            reason = str(error).partition("\n")[0]
            self.say(f"the tracker does not answer and is told no more; the training goes on: {reason}")


def prepare(config: PPOConfig | SACConfig | TD3Config) -> None:
    """To be called once before trainings of these settings begin side by side."""
    if config.tracker != "none":
        TRACKERS[config.tracker].prepare()


def telling(config: PPOConfig | SACConfig | TD3Config, folder: Path, resumed: bool, say: Callable[[str], None]) -> Telling:
    """Start the tracker that the settings name; a resumed training goes on with the run that it had there."""
    path = folder / f"tracker-{config.tracker}-{config.digest[:12]}.json"
    settings = json.loads(json.dumps(dataclasses.asdict(config), default=str)) | {"pilotfish": __version__}
    title = f"{config.algorithm} {config.env} seed {config.seed}"
    tracker = TRACKERS[config.tracker](Facts(title, settings, folder, _known(path) if resumed else None))
    sealed.write_atomic(path, sealed.canonical_json({"run_id": tracker.run_id}))
    return Telling(tracker, say)


def _known(path: Path) -> str | None:
    """The id kept there; a file that is none counts as none: the run is told anew."""
    try:
        found = sealed.read_json(path, "the id of a tracker's run")
    except BadInput:
        return None
    run_id = found.get("run_id") if isinstance(found, dict) else None
    return run_id if isinstance(run_id, str) else None
