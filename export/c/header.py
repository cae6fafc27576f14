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


def header_of(policy: Policy) -> Header:
    """Provenance and contract of a policy as plain ASCII comment lines."""
    contract = policy.contract
    observation, action, timing = contract.observation, contract.action, contract.timing
    lines = [f"Observation: {observation.size} x float32, raw{_units(observation.units)}"]
    if observation.normalizer:
        lines.append("  normalized inside: clip((x - mean) / s)")
    lines += _named(observation.names)
    if action.kind == "discrete":
        lines.append(f"Action: one index in [0, {action.size}){_units(action.units)}")
    else:
        limits = "" if not action.low else f", clipped to [{min(action.low):g}, {max(action.high):g}] or narrower"
        lines.append(f"Action: {action.size} x float32{limits}{_units(action.units)}")
    lines += _named(action.names)
    at = 0
    for state in contract.state:
        lines.append(f"State [{at}, {at + state.size}): {state.name}, zero at the start of an episode")
        at += state.size
    if timing.control_hz:
        lines.append(f"Decisions per second in training: {timing.control_hz:g}")
    provenance = f"Policy {policy.name}, sha256 {policy.digest}, {policy.parameters} parameters, {policy.precision}"
    return Header(harmless(provenance), tuple(harmless(line) for line in lines), action.size)


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
