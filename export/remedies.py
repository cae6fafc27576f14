"""What would help a policy that does not fit its board or is too slow for it: the nearest remedies, in numbers."""

from __future__ import annotations

import math

from ..policy.bundle import Policy
from ..policy.conv import Conv2d
from ..policy.macs import macs
from ..targets.profile import Target, load_target, shipped_targets
from ..targets.virtual.cores import find_core

HEADROOM = 0.98
"""What a remedy aims at, as a share of the limit: costs are not quite proportional to the number of weights."""
BOARDS = 2
"""Boards that a refusal names."""
SOFT_FLOAT = 20.0
"""Software floating point takes that many times the cycles of an FPU, or more (17-64-64-6 tanh: 2,158,293 cycles on a
Cortex-M0+, 35,010 on a Cortex-M4F: both emulated, at zero wait states)."""


def what_helps(remedies: list[str]) -> str:
    """The end of a refusal; empty where nothing is known to help."""
    return f". What would help: {'; or '.join(remedies)}" if remedies else ""


def for_flash(policy: Policy, target: Target, needed: int, limit: int) -> list[str]:
    """What would bring ``needed`` bytes of flash down to ``limit``."""
    remedies = []
    weights = policy.weight_bytes
    in_int8 = needed - weights * 3 // 4
    if policy.precision == "fp32" and in_int8 <= limit:
        remedies.append(f"int8 weights (the quantize pass), which would need about {in_int8:,} bytes")
    room = limit * HEADROOM - (needed - weights)  # code and start-up stay
    if room > 0:
        each = weights / max(policy.parameters, 1)
        remedies.append(f"{_fewer(policy, room / each / policy.parameters)} ({room:,.0f} bytes are left for them)")
    return remedies + _boards(policy, target, flash=needed)


def for_ram(policy: Policy, target: Target, needed: int) -> list[str]:
    """What would bring ``needed`` bytes of RAM down."""
    return ["narrower layers, as intermediate values take the RAM", *_boards(policy, target, ram=needed)]


def for_time(policy: Policy, target: Target, typical_us: float, period_us: float, flash: int, ram: int) -> list[str]:
    """What would bring a decision of ``typical_us`` down to ``period_us``; flash and RAM in bytes."""
    slowest_hz = 1e6 / typical_us
    hz = math.floor(slowest_hz) if slowest_hz >= 10 else math.floor(slowest_hz * 100) / 100
    ratio = typical_us / period_us
    remedies = [f"control at {hz:g} Hz at most (--control-hz {hz:g})"] if hz > 0 else []
    if any(isinstance(layer, Conv2d) for layer in policy.layers):
        most = math.floor(macs(policy.layers) * HEADROOM / ratio)
        remedies.append(
            f"about {most:,} of the {macs(policy.layers):,} multiplications (the time is about proportional), by larger strides, "
            "fewer channels or kernels in factors (the passes shrink, tucker and cp)"
        )
    else:
        remedies.append(f"{_fewer(policy, HEADROOM / ratio)} (the time is about proportional)")
    if policy.precision == "fp32" and not find_core(target.cpu.core).fpu:
        remedies.append("int8 weights and activations (the quantize pass): this core has no FPU")
    return remedies + _boards(policy, target, flash=flash, ram=ram, speed=ratio)


def _fewer(policy: Policy, share: float) -> str:
    zeros = policy.parameters - policy.nonzero_parameters
    pruned = f", {zeros:,} of them zero already" if zeros else ""
    part = f"{share:.0%}" if share >= 0.1 else f"{share:.1%}"
    return f"about {part} of the {policy.parameters:,} weights{pruned}, by distilling into a smaller network or by pruning"


def _boards(policy: Policy, target: Target, *, flash: int = 0, ram: int = 0, speed: float = 1.0) -> list[str]:
    """The smallest shipped boards with that much flash and RAM, and ``speed`` times as fast by clock and FPU."""
    found = []
    for name in shipped_targets():
        other = load_target(name)
        flash_there, ram_there = other.memory.flash_bytes or 0, other.memory.ram_bytes or 0
        fits = flash_there >= flash and ram_there >= ram and policy.precision in other.precisions
        chip = other.link.kind == "virtual" and other.cpu.clock_hz is not None  # a profile without a clock stands for no chip
        if chip and other.name != target.name and fits and _speed(policy, target, other) >= speed:
            found.append((flash_there, other.name, ram_there, other))
    remedies = []
    for flash_there, name, ram_there, other in sorted(found, key=lambda entry: entry[:2])[:BOARDS]:
        clock = f", {(other.cpu.clock_hz or 0) / 1e6:g} MHz" + (" and an FPU" if find_core(other.cpu.core).fpu else "")
        remedies.append(
            f"the board {name}, which has {flash_there:,} bytes of flash, {ram_there:,} of RAM{clock if speed > 1 else ''}"
        )
    return remedies


def _speed(policy: Policy, target: Target, other: Target) -> float:
    """How many times as fast ``other`` is, roughly; 0: unknown. Nothing but clock and FPU is looked at."""
    if not (other.cpu.clock_hz and target.cpu.clock_hz):
        return 1.0
    here, there = find_core(target.cpu.core).fpu, find_core(other.cpu.core).fpu
    floats = 1.0 if policy.precision == "int8" or here == there else (SOFT_FLOAT if there else 1 / SOFT_FLOAT)
    return other.cpu.clock_hz / target.cpu.clock_hz * floats
