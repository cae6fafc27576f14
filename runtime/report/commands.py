"""The commands that make an artifact's numbers again, safe to paste whatever the names in them are."""

from __future__ import annotations

import shlex
from typing import Any

from ...targets.profile import shipped_targets
from ..artifact import SOURCE
from .compare import Entry


def reproduce(entry: Entry, entries: list[Entry]) -> list[str]:
    """Shell lines for the folder of the report: rebuild, verify, bench, evaluate; only what was done before."""
    path = _path(entry["path"])
    target, shipped = entry["target"]["name"], shipped_targets()
    profile = target if target in shipped else f"{target}.toml"
    lines = [
        f"pilotfish export {_path(entry['path'] + '/' + SOURCE)} -t {shlex.quote(profile)} "
        f"--backend {shlex.quote(entry['backend'])} -o rebuilt"
    ]
    if target not in shipped:
        lines.insert(0, f"# {target}.toml is the target's profile; artifact.json holds what it said")
    if entry["verify"]:
        lines.append(f"pilotfish verify {path}")
    if entry["bench"]:
        rate = entry["bench"]["control_hz"]
        lines.append(f"pilotfish bench {path}" + (f" --control-hz {rate:g}" if rate else ""))
    if entry["evaluate"]:
        lines.append(_evaluate(path, entry["evaluate"], entry, entries))
    return lines


def _evaluate(path: str, result: dict[str, Any], entry: Entry, entries: list[Entry]) -> str:
    line = f"pilotfish evaluate {path}"
    if result["env"]:
        line += f" --env={shlex.quote(result['env'])}"
    if episodes := len(result["returns"]) or result["episodes"]:
        line += f" --episodes {episodes}"
    if result["seeds"]:
        line += f" --seed {min(result['seeds'])}"
    if result["gate"] is not None:
        line += f" --gate {result['gate']:g}"
    digest = result["reference_digest"]
    source = next((other["path"] for other in entries if other["policy_digest"] == digest), None)
    if source and digest != entry["policy_digest"]:
        line += f" --reference={_path(source + '/' + SOURCE)}"
    return line


def _path(path: str) -> str:
    """Quoted for a shell, and never mistaken for a flag."""
    return shlex.quote(f"./{path}" if path.startswith("-") else path)
