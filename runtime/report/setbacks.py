"""What did not help: where compression cost something or gained nothing, worked out from the comparisons."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .numerals import duration, listed, percent, plain, size

Change = dict[str, Any]


def did_not_help(pairs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """For each comparison with a setback: where it is (in words), what was done, and the setbacks as sentences."""
    found = []
    for pair in pairs:
        changes = {change["metric"]: change for change in pair["changes"]}
        texts = [*_slower(changes), *_larger(pair, changes), *_worse_return(changes)]
        if texts:
            passes = listed(list(dict.fromkeys(pair["passes"])))
            found.append(
                {
                    "before": pair["before"],
                    "after": pair["after"],
                    "where": f"{pair['target']} through {pair['backend_name']}",
                    "what": f"{pair['before_name']} → {pair['after_name']}" + (f", by {passes}" if passes else ""),
                    "texts": texts,
                }
            )
    return found


def _slower(changes: dict[str, Change]) -> list[str]:
    latency, tail = changes.get("latency"), changes.get("tail")
    texts = []
    if latency and latency["effect"] == "worse":
        texts.append(f"A decision became slower: {_step(latency, duration)}.")
    elif latency and latency["effect"] == "same":
        texts.append(f"A decision did not become measurably faster: {_step(latency, duration)}.")
    if tail and tail["effect"] == "worse":
        texts.append(f"The tail became slower, 99th percentile when paced: {_step(tail, duration)}.")
    return texts


def _larger(pair: dict[str, Any], changes: dict[str, Change]) -> list[str]:
    stored, ram, texts = changes.get("size"), changes.get("ram"), []
    if stored and stored["effect"] in ("worse", "same"):
        grew = "became larger" if stored["effect"] == "worse" else "did not become smaller"
        texts.append(f"What is deployed {grew}: {_step(stored, size)}.")
    before, after = pair["zeros"]
    if after > before + 0.01 and stored and stored["effect"] != "better":
        texts.append(f"{percent(after)} of the weights are zero, but zeros take as much room there as other numbers.")
    if ram and ram["effect"] == "worse":
        texts.append(f"It takes more RAM: {_step(ram, size)}.")
    return texts


def _worse_return(changes: dict[str, Change]) -> list[str]:
    change = changes.get("return")
    if change and change["effect"] == "worse":
        return [f"It cost return: {_step(change, plain)}" + (f"; {change['why']}" if change["why"] else "") + "."]
    return []


def _step(change: Change, form: Callable[[float], str]) -> str:
    share = f"{percent(change['change'], signed=True)}, " if change["change"] is not None else ""
    return f"{form(change['before'])} → {form(change['after'])} ({share}{change['source']})"
