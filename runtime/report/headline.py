"""The head of the report: a lead sentence, and one card per question that sums up all artifacts."""

from __future__ import annotations

from typing import Any

from .compare import Entry, figure, typical_latency
from .numerals import count, duration, listed, size

QUESTIONS = {
    "flies": ("Does it still fly?", "keep their return", "lose too much return"),
    "in_time": ("Does it meet the deadline?", "meet the deadline", "miss the deadline"),
    "fits": ("Does it fit?", "fit", "do not fit"),
    "faithful": ("Did the export stay faithful?", "agree with their reference", "differ too much from their reference"),
}
"""Verdict -> (question, what many artifacts do if it is good, if it is bad)."""
DELIVERED = ("after", "alone")
"""Roles of the policies that a user would deploy; the originals are there to compare with."""


def verdicts(entries: list[Entry]) -> list[dict[str, Any]]:
    """One card per question: key, question, mark, answer, and sentences (mark, text, before) per target or environment."""
    return [_card(key, entries) for key in QUESTIONS]


def _card(key: str, entries: list[Entry]) -> dict[str, Any]:
    delivered = [entry for entry in entries if entry["role"] in DELIVERED] or entries
    groups: dict[str, list[Entry]] = {}
    for entry in delivered:
        place = {"flies": entry["env"] or "", "faithful": ""}.get(key, entry["target"]["name"])
        groups.setdefault(place, []).append(entry)
    sentences = [sentence for group in groups.values() for sentence in _group(key, group)]
    for entry in entries:
        if entry not in delivered and entry["verdicts"][key]["mark"] == "bad":
            text = f"Before compression, {entry['label']} {entry['verdicts'][key]['sentence']}."
            sentences.append({"mark": "bad", "text": text, "before": True})
    marks = {entry["verdicts"][key]["mark"] for entry in delivered}
    if "bad" in marks:
        mark, answer = "bad", "No" if marks == {"bad"} else "Not everywhere"
    elif "good" in marks:
        mark, answer = "good", "Yes" if "open" not in marks else "Yes, as far as tested"
    elif "open" in marks:
        mark, answer = "open", "Not known yet"
    else:
        mark, answer = "none", "No gate was set" if key == "flies" else "No limit to check"
    return {"key": key, "question": QUESTIONS[key][0], "mark": mark, "answer": answer, "sentences": sentences}


def _group(key: str, group: list[Entry]) -> list[dict[str, Any]]:
    """A sentence for each mark that occurs in the group; of several artifacts, the one nearest to failing is quoted."""
    place = f" on {group[0]['target']['name']}" if key in ("in_time", "fits") else ""
    of_mark: dict[str, list[Entry]] = {}
    for entry in sorted(group, key=lambda entry: _margin(entry, key)):
        of_mark.setdefault(entry["verdicts"][key]["mark"], []).append(entry)
    return [
        {"mark": mark, "text": _sentence(key, mark, of_mark[mark], len(group), place), "before": False}
        for mark in ("bad", "good", "none", "open")
        if mark in of_mark
    ]


def _sentence(key: str, mark: str, members: list[Entry], total: int, place: str) -> str:
    _, good, bad = QUESTIONS[key]
    first = members[0]
    detail = f"{first['label']} {first['verdicts'][key]['sentence']}"
    if len(members) == 1:
        return f"{detail}."
    number = len(members)
    if mark == "good":
        whole = "Both" if number == total == 2 else f"All {number}" if number == total else f"{number} of {total}"
        return f"{whole} artifacts{place} {good}. The closest call: {detail}."
    if mark == "bad":
        return f"{number} of {total} artifacts{place} {bad}. The furthest off: {detail}."
    if mark == "none":
        return f"{number} artifacts{place} have nothing to be judged by. For one, {detail}."
    return f"{listed([entry['label'] for entry in members])}: {first['verdicts'][key]['short']}."


def _margin(entry: Entry, key: str) -> float:
    margin = entry["verdicts"][key]["margin"]
    return float("inf") if margin is None else margin


def lead(entries: list[Entry], policies: list[dict[str, Any]]) -> str:
    """One paragraph under the title: what was made, and what it costs where."""
    chosen = [policy for policy in policies if policy["role"] in DELIVERED] or policies
    if len(chosen) > 1:
        targets = listed(sorted({entry["target"]["name"] for entry in entries}))
        return f"{count(len(policies), 'policy', 'policies')} in {count(len(entries), 'artifact')}, built for {targets}."
    policy = chosen[0]
    text = f"A policy of {policy['parameters']:,} parameters in {size(policy['weight_bytes'])} of {policy['precision']} weights"
    original = next((p for p in policies if p["digest"] in policy["parents_here"][:1]), None)
    if original:
        text += f", made from one of {original['parameters']:,} in {size(original['weight_bytes'])}"
    costs = []
    for entry in entries:
        key = typical_latency(entry)
        one = figure(entry, key) if key and entry["policy"] == policy["id"] else None
        if one:
            costs.append(
                f"{duration(one['value'])} on {entry['target']['name']} through {entry['backend_name']} ({one['source']})"
            )
    return f"{text}. A decision takes {listed(costs)}." if costs else f"{text}. No latency has been measured yet."
