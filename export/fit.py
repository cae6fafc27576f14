"""Does a policy fit its board: flash, RAM with the stack, and the control period? Refusals say by how much not."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import GateFailed, MissingTool
from ..policy.bundle import Policy
from ..runtime.measure.rate import Rate
from ..targets.profile import Target
from ..targets.virtual.board import BoardProfile, VirtualBoard
from .remedies import for_flash, for_ram, for_time, what_helps

OBSERVATIONS = 4
"""Golden observations that are executed; costs hardly depend on them (0 to 1.3 % over 64, measured)."""
ENOUGH_INSTRUCTIONS = 2_000_000
"""No further observation is executed after that many instructions: about a second of emulation."""


class DoesNotFit(GateFailed):
    """The firmware needs more flash or RAM than its board has."""

    def __init__(
        self, target: Target, region: str, needed: int, limit: int, detail: str = "", policy: Policy | None = None
    ) -> None:
        self.target, self.region, self.needed, self.limit, self.detail = target, region, needed, limit, detail
        remedies: list[str] = []
        if policy is not None:
            in_flash = region == "flash"
            remedies = for_flash(policy, target, needed, limit) if in_flash else for_ram(policy, target, needed)
        beside = f" ({detail})" if detail else ""
        name = policy.name if policy else "the policy"
        super().__init__(
            f"{name} does not fit {target.name}: it needs {needed:,} bytes of {region}{beside} "
            f"where there are {limit:,}, {needed - limit:,} too many{what_helps(remedies)}"
        )

    def for_policy(self, policy: Policy) -> DoesNotFit:
        """The same, with what would help ``policy``."""
        return DoesNotFit(self.target, self.region, self.needed, self.limit, self.detail, policy)


class TooSlow(GateFailed):
    """A decision takes longer than the control period."""


def check_board(firmware: Path, policy: Policy, target: Target, rate: Rate) -> str:
    """Run a few golden observations on the virtual board; returns one line on what was found, or why nothing was.

    Raises DoesNotFit if static data and the measured stack exceed the RAM, TooSlow if the typical estimate of the slowest
    decision exceeds the period of ``rate``. A board without a cycle estimate has no deadline to miss.
    """
    golden = policy.golden
    assert golden is not None  # checked before anything is built
    rows = np.linspace(0, len(golden.obs) - 1, min(OBSERVATIONS, len(golden.obs))).round().astype(int)
    try:
        board = VirtualBoard(firmware, target)
    except MissingTool as error:
        return f"stack and deadline were not checked on {target.name}: {error}"
    try:
        profile = board.profile(golden.obs[rows], enough_instructions=ENOUGH_INSTRUCTIONS)
    finally:
        board.close()
    static, limit = board.ram_static_bytes, target.memory.ram_bytes or 0
    ram = static + profile.stack_bytes
    if ram > limit:
        detail = f"{static:,} of static data, {profile.stack_bytes:,} of stack"
        raise DoesNotFit(target, "RAM", ram, limit, detail, policy)
    fits = (
        f"fits {target.name}: {board.flash_bytes:,} of {target.memory.flash_bytes or 0:,} bytes of flash, {ram:,} of {limit:,} "
        "bytes of RAM with the stack"
    )
    return f"{fits}; {_check_period(profile, policy, target, rate, board.flash_bytes, ram)}"


def _check_period(profile: BoardProfile, policy: Policy, target: Target, rate: Rate, flash: int, ram: int) -> str:
    latency = profile.latency_us()
    if latency is None:
        why = "it has no clock" if target.cost else "no cycles are published for it"
        return f"{profile.instructions.max():,} instructions; the deadline was not checked, as {why}"
    low, typical, high = (float(band.max()) for band in latency)
    told = f"a decision takes about {typical:,.0f} us (estimated: {low:,.0f} to {high:,.0f})"
    many = f"{rate.actions} actions at " if rate.actions > 1 else ""
    period = f"the {rate.period_us:,.0f} us of {many}{rate.hz:g} Hz ({rate.origin})"
    if typical <= rate.period_us:
        return f"{told}, within {period}" + (", although not at the high end" if high > rate.period_us else "")
    note = f" [{profile.note}]" if profile.note else ""
    raise TooSlow(
        f"{policy.name} is too slow for {target.name}: {told}, {typical / rate.period_us:.2f} times {period}{note}"
        + what_helps(for_time(policy, target, typical, rate.period_us, flash, ram))
    )
