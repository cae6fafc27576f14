"""What a candidate must fit: hard limits of the device, checked on a built artifact before any training."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pydantic import Field
from pydantic.dataclasses import dataclass

from ...targets import Target
from ..passes import STRICT

LIMITED = ("flash_bytes", "ram_bytes", "latency_us")
"""Figures that can have a limit."""


@dataclass(frozen=True, config=STRICT)
class Limits:
    """None: no limit."""

    flash_bytes: int | None = Field(default=None, gt=0)
    """Program and constants; where flash is not counted, the artifact's file."""
    ram_bytes: int | None = Field(default=None, gt=0)
    """Static memory and stack."""
    latency_us: float | None = Field(default=None, gt=0)
    """Of one decision: the control period."""

    def for_every(self, steps: int) -> Limits:
        """Of a policy that decides once in so many periods."""
        return self if self.latency_us is None else replace(self, latency_us=self.latency_us * steps)

    def excess(self, costs: dict[str, Any]) -> list[float]:
        """By how much each limit is exceeded, as a share of it (0 or less: kept); what has no figure counts as kept."""
        found = []
        for name in LIMITED:
            figure = costs.get(name) or (costs.get("artifact_bytes") if name == "flash_bytes" else None)
            limit = getattr(self, name)
            value = figure["value"] if figure else None
            found.append(-1.0 if limit is None or value is None else value / limit - 1)
        return found

    def told(self, costs: dict[str, Any]) -> str:
        """The limits that ``costs`` exceed, in words; empty: none."""
        return ", ".join(
            f"{name} {1 + over:.2f} x its limit of {getattr(self, name):,g}"
            for name, over in zip(LIMITED, self.excess(costs), strict=True)
            if over > 0
        )


def limits_of(target: Target, control_hz: float | None, flash_bytes: int | None = None, ram_bytes: int | None = None) -> Limits:
    """The target's memory, or less where told so, and one period of ``control_hz`` (default: the target's)."""
    memory = target.memory
    return Limits(
        min(filter(None, (flash_bytes, memory.flash_bytes)), default=None),
        min(filter(None, (ram_bytes, memory.ram_bytes)), default=None),
        1e6 / (control_hz or target.control.hz),
    )
