"""Before and after: what compression changed on the same target with the same back-end."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..statistics import SPREAD, bootstrap
from .glossary import LATENCY_KEYS, SIZE_KEYS, title
from .numerals import plain

MEASURED_STEP = 0.05
"""Two medians timed on a machine that does other things too differ by less than this without any cause."""
MODEL_STEP = 0.01
"""Emulated and estimated figures repeat exactly; below this nobody would care."""
LEAST_PAIRS = 5
"""With fewer episodes a bootstrap interval is far too narrow to call a change real."""

Entry = dict[str, Any]


def figure(entry: Entry, key: str) -> dict[str, Any] | None:
    """A figure of an artifact that has a value, whichever result holds it."""
    for candidate in entry["figures"]:
        if candidate["key"] == key and candidate["value"] is not None:
            return candidate
    return None


def typical_latency(*entries: Entry) -> str | None:
    """The name of the typical latency that all these artifacts have, or None."""
    return next((key for key in LATENCY_KEYS if all(figure(entry, key) for entry in entries)), None)


def deployed_size(*entries: Entry) -> str | None:
    """The name of the size that all these artifacts have, or None."""
    return next((key for key in SIZE_KEYS if all(figure(entry, key) for entry in entries)), None)


def stored_bytes(entry: Entry, kind: str) -> float | None:
    """Bytes of "flash", "ram" or "artifact": as found by the bench, else as the build stated it; None where nobody knows.

    A build knows the static RAM only; the stack is found by the bench.
    """
    one = figure(entry, f"{kind}_bytes")
    return one["value"] if one else entry["sizes"].get(kind)


def compare(entries: list[Entry], policies: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One comparison for each artifact whose original was built for the same target and back-end, too.

    ``changes`` hold title, unit, before, after, change (share of before; None where before is not positive),
    ``effect`` ("better", "worse", "same", "unclear") and ``why`` for an unclear one.
    """
    by_id = {policy["id"]: policy for policy in policies}
    by_digest = {policy["digest"]: policy for policy in policies}
    pairs = []
    for after in entries:
        policy = by_id[after["policy"]]
        for parent in policy["parents_here"]:
            before = next((entry for entry in entries if entry["policy_digest"] == parent and _same_place(entry, after)), None)
            if before is None:
                continue
            original = by_digest[parent]
            pairs.append(
                {
                    "before": before["id"],
                    "after": after["id"],
                    "target": after["target"]["name"],
                    "backend_name": after["backend_name"],
                    "before_name": original["name"],
                    "after_name": policy["name"],
                    "passes": [record["name"] for record in policy["passes"][_inherited(original, policy) :]],
                    "zeros": (1 - original["nonzero"] / original["parameters"], 1 - policy["nonzero"] / policy["parameters"]),
                    "parameters": (original["parameters"], policy["parameters"]),
                    "precision": (original["precision"], policy["precision"]),
                    "changes": _changes(before, after),
                }
            )
            break  # the oldest parent is the original; steps between are in the passes
    return pairs


def _same_place(one: Entry, other: Entry) -> bool:
    return one["target"]["name"] == other["target"]["name"] and one["backend"] == other["backend"]


def _inherited(original: dict[str, Any], policy: dict[str, Any]) -> int:
    """How many passes at the head of the policy's list were the original's already."""
    shared = len(original["passes"])
    return shared if policy["passes"][:shared] == original["passes"] else 0


def _changes(before: Entry, after: Entry) -> list[dict[str, Any]]:
    keys = {
        "return": "return",
        "latency": typical_latency(before, after),
        "tail": "paced_p99_us",
        "size": deployed_size(before, after),
        "ram": "ram_bytes",
    }
    changes = []
    for metric, key in keys.items():
        old, new = (figure(before, key), figure(after, key)) if key else (None, None)
        if not old or not new or old["unit"] != new["unit"]:
            continue
        share = (new["value"] - old["value"]) / old["value"] if old["value"] > 0 else None
        effect, why = _effect(metric, old, new)
        if metric == "return" and effect != "unclear":
            effect, why = _paired(before["evaluate"], after["evaluate"]) or (effect, why)
        changes.append(
            {
                "metric": metric,
                "key": key,
                "title": title(str(key)),
                "unit": new["unit"],
                "before": old["value"],
                "after": new["value"],
                "change": share,
                "effect": effect,
                "why": why,
                "source": new["source"],
            }
        )
    return changes


def _effect(metric: str, old: dict[str, Any], new: dict[str, Any]) -> tuple[str, str]:
    if old["source"] != new["source"]:
        return "unclear", f"{old['source']} against {new['source']}"
    if old["device"] and new["device"] and old["device"] != new["device"]:
        return "unclear", "taken on different devices"
    difference = new["value"] - old["value"]
    if new["source"] == "measured" and _intervals_overlap(old, new):
        return "same", "the intervals overlap"
    if metric in ("size", "ram"):
        step = 0.0
    else:
        step = abs(old["value"]) * (MEASURED_STEP if new["source"] == "measured" else MODEL_STEP)
    if abs(difference) <= step:
        return "same", ""
    return ("better" if (difference > 0) == (metric == "return") else "worse"), ""


def _paired(before: dict[str, Any], after: dict[str, Any]) -> tuple[str, str] | None:
    """Effect and reason by the differences of episodes with the same seeds; None where there are no such pairs."""
    olds, news = (dict(zip(result["seeds"], result["returns"], strict=False)) for result in (before, after))
    seeds = sorted(olds.keys() & news.keys())
    if not seeds or before["env"] != after["env"]:
        return None
    if len(seeds) < LEAST_PAIRS:
        return "unclear", f"only {len(seeds)} episodes with the same seeds"
    gap = bootstrap(np.array([news[seed] - olds[seed] for seed in seeds]))
    if gap.low is None or gap.high is None:
        return None
    why = f"paired over {len(seeds)} seeds: {plain(gap.value)}, {SPREAD} {plain(gap.low)} … {plain(gap.high)}"
    if gap.low <= 0 <= gap.high:
        return "same", why
    return ("better" if gap.value > 0 else "worse"), why


def _intervals_overlap(old: dict[str, Any], new: dict[str, Any]) -> bool:
    """True where both spreads are intervals of the value itself (not min–max) and share a point."""
    if any(side[end] is None for side in (old, new) for end in ("low", "high")):
        return False
    if not all("interval" in side["spread"] for side in (old, new)):
        return False
    return old["low"] <= new["high"] and new["low"] <= old["high"]
