"""The control rate that a decision's latency is judged by, and who asked for it."""

from __future__ import annotations

import math
from typing import NamedTuple

from ...errors import BadInput
from ...policy.contract import Contract
from ...targets.profile import Target

MAX_HZ = 100_000.0


class Rate(NamedTuple):
    """Actions per second, and how many of them a decision holds."""

    hz: float
    """Actions per second."""
    origin: str
    """Who says so, for a sentence: "as asked for", "the policy's own", "the target's control.hz"."""
    actions: int = 1
    """Actions per decision."""

    @property
    def decision_hz(self) -> float:
        """Decisions per second."""
        return self.hz / self.actions

    @property
    def period_us(self) -> float:
        """Time for one decision, in microseconds."""
        return 1e6 * self.actions / self.hz


def control_rate(contract: Contract, target: Target, asked_hz: float | None = None) -> Rate:
    """What was asked for, else the rate that the policy was made for, else the target's; all in actions per second.

    Raises BadInput for a rate that is not above 0 and at most MAX_HZ.
    """
    count = contract.timing.actions_per_decision
    if asked_hz is not None:
        rate = Rate(float(asked_hz), "as asked for", count)
    elif contract.timing.control_hz:
        rate = Rate(float(contract.timing.control_hz), "the policy's own", count)
    else:
        rate = Rate(float(target.control.hz), "the target's control.hz", count)
    if not (math.isfinite(rate.hz) and 0 < rate.hz <= MAX_HZ):
        raise BadInput("control_hz", expected=f"a rate above 0 and at most {MAX_HZ:,.0f} Hz", found=f"{rate.hz:g}")
    return rate
