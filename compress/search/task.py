"""What all candidates of a search share."""

from __future__ import annotations

from dataclasses import dataclass

from ...policy import Policy
from ...targets import Target
from .effort import Effort
from .judge import Judge
from .limits import Limits


@dataclass(frozen=True)
class Task:
    """What all candidates of a search share."""

    teacher: Policy
    target: Target
    env: str
    limits: Limits
    effort: Effort
    seed: int = 0
    device: str = "cpu"

    def judged(self) -> Judge:
        """Whoever tells what a policy keeps of the teacher's return, and keeps the school that candidates go to."""
        return Judge(self.teacher, self.env, self.effort, self.seed, self.device)
