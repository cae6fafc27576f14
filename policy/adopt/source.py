"""What the user hands over for adoption: the file, and what is known about it beside its content."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Source:
    """A checkpoint to adopt, with the user's flags; each format reads what concerns it."""

    path: Path
    """The checkpoint."""
    name: str
    """Name of the policy that it becomes."""
    normalizer: Path | None = None
    """File of the observation normalizer; Path("none") where the user says that there is none."""
    config: Path | None = None
    """File of settings that lies beside the checkpoint (rl-zoo config.yml, deployment YAML)."""
    env: str | None = None
    """Gymnasium id that it acts in."""
    control_hz: float | None = None
    """Decisions per second it was trained at."""

    @property
    def says_no_normalizer(self) -> bool:
        """The user wrote ``--normalizer none``."""
        return self.normalizer is not None and str(self.normalizer).lower() == "none"
