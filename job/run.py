"""One run of a job: its folder, and the cache of its steps."""

from __future__ import annotations

from pathlib import Path

from .cache import Listener, StepCache
from .schema import Job


class Run:
    """What every step of a job is given."""

    def __init__(self, job: Job, listener: Listener, progress: bool) -> None:
        self.job, self.progress = job, progress
        self.folder = Path(job.output or f"runs/{job.name}")
        self.cache = StepCache(self.folder / "steps", listener)
