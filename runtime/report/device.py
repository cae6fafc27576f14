"""A device's facts as a person reads them: one line per fact, what is nested spelled out."""

from __future__ import annotations

from typing import Any

from .numerals import plain


def shown(facts: dict[str, Any]) -> dict[str, Any]:
    """Facts by section, lists and clusters in words; without the warnings, which stand beside the figures they concern."""
    lines: dict[str, Any] = {}
    for section, values in facts.items():
        if not isinstance(values, dict):
            continue
        told = dict(values)
        if section == "cpu":
            told |= {f"cores {each.get('cores', '?')}": _cluster(each) for each in _dicts(told.pop("clusters", []))}
        if section == "thermal":
            flags = told.pop("throttling", {})
            parts = (
                [f"{key.replace('_', ' ')}: {_words(value)}" for key, value in flags.items()] if isinstance(flags, dict) else []
            )
            told["throttling"] = "; ".join(parts) or "none known"
        lines[section] = {key: _words(value) if not isinstance(value, dict) else value for key, value in told.items()}
    return lines


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _cluster(cluster: dict[str, Any]) -> str:
    parts = [f"governor {cluster['governor']}"] if cluster.get("governor") else []
    if isinstance(cluster.get("now_mhz"), int | float):
        parts.append(f"{plain(cluster['now_mhz'])} MHz now")
    for key, word in (("allowed_mhz", "allowed"), ("possible_mhz", "possible")):
        span = cluster.get(key)
        if isinstance(span, list) and len(span) == 2 and all(isinstance(end, int | float) for end in span):
            parts.append(f"{plain(span[0])} to {plain(span[1])} {word}")
    return ", ".join(parts)


def _words(value: Any) -> Any:
    return ", ".join(map(str, value)) if isinstance(value, list) else value
