"""What the comments of the generated files say about a policy: provenance, contract, memory."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

from ...policy.bundle import Policy


@dataclass(frozen=True)
class Header:
    """What the comments of the generated files say, besides what the graph says itself."""

    provenance: str
    """One line: which policy this is."""
    contract: tuple[str, ...] = ()
    """Lines about observation, action, state and time."""
    action_size: int | None = None
    """Network outputs, where the action is an index among them; None: as many as values are written."""
    actions_per_decision: int = 1
    """How many actions the values that are written hold, one after another."""


def header_of(policy: Policy) -> Header:
    """Provenance and contract of a policy as plain ASCII comment lines."""
    contract = policy.contract
    observation, action, timing = contract.observation, contract.action, contract.timing
    lines = [f"Observation: {observation.size} x float32, raw{_units(observation.units)}"]
    if observation.history > 1:
        frame = observation.size // observation.history
        lines += [
            f"  {observation.history} frames of {frame}, the newest last: each an observation, then the action returned",
            "  before it (all of its values; 0 at first). An episode begins with equal frames.",
        ]
    if observation.normalizer:
        lines.append("  normalized inside: clip((x - mean) / s)")
    lines += _named(observation.names)
    if action.kind == "discrete":
        lines.append(f"Action: one index in [0, {action.size}){_units(action.units)}")
    else:
        limits = "" if not action.low else f", clipped to [{min(action.low):g}, {max(action.high):g}] or narrower"
        lines.append(f"Action: {action.size} x float32{limits}{_units(action.units)}")
        if timing.actions_per_decision > 1:
            each = action.size // timing.actions_per_decision
            lines.append(f"  {timing.actions_per_decision} actions of {each}, to be taken one after another, the first in front")
    lines += _named(action.names)
    at = 0
    for state in contract.state:
        lines.append(f"State [{at}, {at + state.size}): {state.name}, zero at the start of an episode")
        at += state.size
    if timing.control_hz:
        lines.append(f"Decisions per second in training: {timing.control_hz / timing.actions_per_decision:g}")
    if timing.hold > 1:
        lines.append(f"  An action is held for {timing.hold} steps of the environment that it was trained in")
    if timing.actions_per_decision > 1 and timing.control_hz:
        lines.append(f"  Actions per second: {timing.control_hz:g}")
    provenance = f"Policy {policy.name}, sha256 {policy.digest}, {policy.parameters} parameters, {policy.precision}"
    return Header(harmless(provenance), tuple(harmless(line) for line in lines), action.size, timing.actions_per_decision)


def harmless(text: str) -> str:
    """Text that may stand in a C comment: names come from strangers' files, and must not end it."""
    return re.sub(r"[^A-Za-z0-9 _.,:;()\[\]{}=+\-@#%'\"<>|^/]", "?", text).replace("*/", "?/").replace("/*", "/?")[:2000]


def _units(units: str) -> str:
    return f" ({units})" if units else ""


def _named(names: Sequence[str]) -> list[str]:
    if not names:
        return []
    text = ", ".join(f"{i} {name}" for i, name in enumerate(names))
    return textwrap.wrap(harmless(text), 110, initial_indent="  ", subsequent_indent="  ")
