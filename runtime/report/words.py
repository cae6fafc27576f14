"""The four verdicts on one artifact in plain words; where a figure is missing, the words say so."""

from __future__ import annotations

from typing import Any

from .compare import Entry, deployed_size, figure, stored_bytes
from .numerals import count, duration, listed, percent, plain, size, times

Verdict = dict[str, Any]
"""mark: "good", "bad", "open" (not known yet) or "none" (nothing to judge by); short: a few characters for a table;
sentence: a predicate that follows the artifact's label; margin: how far from failing (None: unknown), less is nearer."""


def judge(entry: Entry) -> dict[str, Verdict]:
    """Does it fly, is it in time, does it fit, is it faithful: one verdict each."""
    return {"flies": _flies(entry), "in_time": _in_time(entry), "fits": _fits(entry), "faithful": _faithful(entry)}


def _verdict(mark: str, short: str, sentence: str, margin: float | None = None) -> Verdict:
    return {"mark": mark, "short": short, "sentence": sentence, "margin": margin}


def interval(one: dict[str, Any]) -> str:
    """The spread of a figure, such as "95 % bootstrap interval −3 … 8"; empty where it has none."""
    if one["low"] is None or one["high"] is None:
        return ""
    return f"{one['spread'] or 'spread'} {plain(one['low'])} … {plain(one['high'])}"


def _flies(entry: Entry) -> Verdict:
    result = entry["evaluate"]
    if result is None:
        if entry["env"] is None:
            return _verdict("open", "no environment", "was not flown: its policy names no environment to fly in")
        return _verdict("open", "not evaluated", "has not been evaluated yet")
    own, reference, kept = figure(entry, "return"), figure(entry, "reference_return"), figure(entry, "retained")
    difference, gate = figure(entry, "difference"), result["gate"]
    if own is None:
        return _verdict("open", "no return", "was evaluated, but its return is not reported")
    against = f"against {plain(reference['value'])} of {result['reference'] or 'the reference'}" if reference else ""
    if kept:
        sentence, short = (
            f"keeps {percent(kept['value'])} of the return ({plain(own['value'])} {against})",
            percent(kept["value"]),
        )
    else:
        sentence, short = f"returns {plain(own['value'])} {against}".rstrip(), plain(own["value"])
    sentence += f", over {count(len(result['returns']) or result['episodes'] or own['samples'], 'episode')}"
    if difference:
        sentence += "; " + ", ".join(filter(None, (f"paired difference {plain(difference['value'])}", interval(difference))))
    margin = kept["value"] - (gate or 0.0) if kept else difference["value"] if difference else None
    if result["slowest"].get("sentence"):
        sentence += f"; {result['slowest']['sentence']}"
    acted = [f"{name.replace('_', ' ')} {count:,}" for name, count in result["guard"].items() if count and name != "steps"]
    if acted:
        sentence += f"; its guard acted: {listed(acted)} of {result['guard'].get('steps', 0):,}"
    if gate is not None:
        passed = {True: "is passed", False: "is not passed", None: "was not judged"}[result["passed"]]
        mark = {True: "good", False: "bad", None: "open"}[result["passed"]]
        return _verdict(mark, short, f"{sentence}; the gate of {percent(gate)} {passed}", margin)
    if difference and difference["high"] is not None and difference["high"] >= 0:
        return _verdict("good", short, f"{sentence}; no loss shows, and no gate was set", margin)
    return _verdict("none", short, f"{sentence}; no gate was set to judge this by", margin)


def _in_time(entry: Entry) -> Verdict:
    result = entry["bench"]
    if result is None:
        return _verdict("open", "not measured", "has not been measured yet")
    deadline, met = result["deadline_us"], result["deadline_met"]
    typical = figure(entry, "guarded_latency_us") or figure(entry, "latency_us")
    worst = figure(entry, "paced_worst_us") or typical or figure(entry, "tight_worst_us")
    if worst is None:
        return _verdict("open", "no latency", "was measured, but no latency is reported")
    slowest = worst["value"]
    if worst is typical:
        known = worst["low"] is not None and worst["high"] is not None
        slowest = worst["high"] if known else slowest
        band = f" (band {duration(worst['low'])} … {duration(worst['high'])})" if known else ""
        behind = " behind its guard" if worst["key"] == "guarded_latency_us" else ""
        sentence = f"takes {duration(worst['value'])}{band} per decision{behind}"
    else:
        doing = (
            "answers at most {} after its period began" if worst["key"] == "paced_worst_us" else "takes at most {} per decision"
        )
        behind = " behind its guard" if "through the guard" in worst["note"] else ""
        sentence = f"{doing.format(duration(slowest))}{behind}, over {count(worst['samples'], 'decision')}"
    if deadline is None or met is None:
        return _verdict("none", duration(slowest), f"{sentence} ({worst['source']}); no deadline was judged")
    sentence += f", and {duration(deadline)} are allowed"
    misses = figure(entry, "paced_misses")
    if misses:
        late = "none was" if not misses["value"] else f"{plain(misses['value'])} of {misses['samples']:,} were"
        sentence += f"; {late} late at {plain(result['control_hz'])} Hz"
    soaked = figure(entry, "soak_misses")
    if soaked and soaked["value"]:
        sentence += f"; in a soak, {plain(soaked['value'])} of {soaked['samples']:,} were"
        met = False
    jitter, budget = figure(entry, "paced_jitter_us"), entry["target"]["control"]["jitter_budget_us"]
    if not met and jitter and budget and jitter["value"] > budget:
        sentence += f"; the jitter of {duration(jitter['value'])} exceeds its budget of {duration(budget)}"
    ratio = deadline / slowest if slowest > 0 else None
    if met and ratio and ratio >= 1.1:
        sentence += f": {times(ratio)} times faster than needed"
    short = f"{duration(slowest)} of {duration(deadline)}"
    return _verdict("good" if met else "bad", short, f"{sentence} ({worst['source']})", ratio)


def _fits(entry: Entry) -> Verdict:
    memory = entry["target"]["memory"]
    parts, shares, shown = [], [], []
    for kind, label in (("flash", "flash"), ("ram", "RAM")):
        limit, used = memory[f"{kind}_bytes"], stored_bytes(entry, kind)
        if limit is None:
            continue
        if used is None:
            return _verdict("open", "size unknown", f"may use {size(limit)} of {label}, but its use is not known yet")
        static = " static" if kind == "ram" and not figure(entry, "ram_bytes") else ""
        shares.append(used / limit)
        parts.append(f"{size(used)} of {size(limit)}{static} {label} ({percent(used / limit)})")
        shown.append(f"{percent(used / limit, 0 if used > limit / 10 else 1)} {label}")
    if not parts:
        key = deployed_size(entry)
        one = figure(entry, key) if key else None
        known = size(one["value"]) if one else "of unknown size"
        return _verdict("none", known, f"is {known}; {entry['target']['name']} sets no limit")
    mark = "bad" if max(shares) > 1 else "good" if figure(entry, "ram_bytes") or memory["ram_bytes"] is None else "open"
    text = f"uses {listed(parts)}" + ("; its stack is not known yet" if mark == "open" else "")
    return _verdict(mark, ", ".join(shown), text, 1 - max(shares))


def _faithful(entry: Entry) -> Verdict:
    result = entry["verify"]
    if result is None:
        return _verdict("open", "not verified", "has not been compared with the reference yet")
    error, same, tolerance = figure(entry, "max_abs_error"), figure(entry, "agreement"), result["tolerance"]
    steps = f" over {count(result['steps'], 'step')}" if result["steps"] else ""
    if result["golden_source"] == "random observations":
        steps += " of random observations"
    mark, outcome = ("good", "passed") if result["passed"] else ("bad", "failed")
    why = "".join(f"; {reason}" for reason in result["failures"][:2])
    if same is not None:
        text = f"makes the same choice as the reference in {percent(same['value'], 2)} of the decisions{steps}{why}"
        return _verdict(mark, f"{percent(same['value'], 2)} same", text, same["value"])
    if error is None:
        return _verdict(mark, outcome, f"{outcome} the comparison with the reference{steps}{why}")
    sentence = f"differs from the reference by at most {plain(error['value'], 3)}{steps}"
    if tolerance:
        sentence += f"; {plain(tolerance, 3)} is tolerated"
    return _verdict(mark, plain(error["value"], 2), sentence + why, 1 - error["value"] / tolerance if tolerance else None)
