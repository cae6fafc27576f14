"""Verdicts in plain words. Every sentence is made from figures; where one is missing, the sentence says so."""

from __future__ import annotations

from typing import Any

from .compare import Entry, deployed_size, figure, typical_latency
from .numerals import count, duration, listed, percent, plain, size, times

Verdict = dict[str, Any]
"""mark: "good", "bad", "open" (not known yet) or "none" (nothing to check); short: a few characters for a table;
sentence: a predicate that follows the artifact's label; margin: how far from failing, less is nearer."""

QUESTIONS = {
    "flies": ("Does it still fly?", "keep their return", "lose too much return"),
    "in_time": ("Does it meet the deadline?", "meet the deadline", "miss the deadline"),
    "fits": ("Does it fit?", "fit", "do not fit"),
    "faithful": (
        "Did the export stay faithful?",
        "agree with the reference policy",
        "differ from the reference policy by more than the tolerance",
    ),
}
DELIVERED = ("after", "alone")
"""Roles of the policies that a user would deploy."""


def _verdict(mark: str, short: str, sentence: str, margin: float = float("inf")) -> Verdict:
    return {"mark": mark, "short": short, "sentence": sentence, "margin": margin if abs(margin) < 1e300 else None}


def judge(entry: Entry) -> dict[str, Verdict]:
    """The four verdicts on one artifact."""
    return {"flies": _flies(entry), "in_time": _in_time(entry), "fits": _fits(entry), "faithful": _faithful(entry)}


def _interval(one: dict[str, Any]) -> str:
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
    share = kept["value"] if kept and reference and reference["value"] > 0 else None
    against = f"against {plain(reference['value'])} of {result['reference'] or 'the reference'}" if reference else ""
    if share is not None:
        sentence, short = f"keeps {percent(share)} of the return ({plain(own['value'])} {against})", percent(share)
    else:
        sentence, short = f"returns {plain(own['value'])} {against}".rstrip(), plain(own["value"])
    if difference:
        interval = _interval(difference)
        sentence += f"; paired difference {plain(difference['value'])}" + (f", {interval}" if interval else "")
    sentence += f", over {count(len(result['returns']) or result['episodes'] or own['samples'], 'episode')}"
    if gate is None:
        sentence += "; no gate was set"
    else:
        limit = percent(gate) if share is not None else plain(gate)
        sentence += f"; the gate of {limit} is {'passed' if result['passed'] else 'not passed'}"
    mark = {True: "good", False: "bad", None: "none"}[result["passed"]]
    margin = share - (gate or 0.0) if share is not None else (difference["value"] if difference else 0.0)
    return _verdict(mark, short, sentence, margin)


def _in_time(entry: Entry) -> Verdict:
    result = entry["bench"]
    if result is None:
        return _verdict("open", "not measured", "has not been measured yet")
    deadline, met = result["deadline_us"], result["deadline_met"]
    worst = figure(entry, "paced_worst_us") or figure(entry, "latency_us") or figure(entry, "tight_worst_us")
    if worst is None:
        return _verdict("open", "no latency", "was measured, but no latency is reported")
    slowest = worst["high"] if worst["key"] == "latency_us" and worst["high"] is not None else worst["value"]
    if worst["key"] == "latency_us":
        band = f" (band {duration(worst['low'])} … {duration(worst['high'])})" if worst["low"] is not None else ""
        sentence = f"takes {duration(worst['value'])}{band} per decision"
    else:
        sentence = f"takes at most {duration(slowest)} per decision, over {count(worst['samples'], 'decision')}"
    if deadline is None or met is None:
        return _verdict("none", duration(slowest), f"{sentence} ({worst['source']}); no deadline was judged")
    sentence += f", and {duration(deadline)} are allowed"
    misses = figure(entry, "paced_misses")
    if misses:
        late = "none was" if not misses["value"] else f"{plain(misses['value'])} of {misses['samples']:,} were"
        sentence += f"; {late} late at {plain(result['control_hz'])} Hz"
    ratio = deadline / slowest if slowest > 0 else float("inf")
    if met and ratio >= 1.1:
        sentence += f": {times(ratio)} times faster than needed"
    short = f"{duration(slowest)} of {duration(deadline)}"
    return _verdict("good" if met else "bad", short, f"{sentence} ({worst['source']})", ratio)


def _fits(entry: Entry) -> Verdict:
    memory = entry["target"]["memory"]
    parts, shares, shown = [], [], []
    for kind, label in (("flash", "flash"), ("ram", "RAM")):
        limit, used = memory[f"{kind}_bytes"], figure(entry, f"{kind}_bytes")
        value = used["value"] if used else entry["sizes"].get(kind)
        if limit is None:
            continue
        if value is None:
            return _verdict("open", "size unknown", f"has a limit of {size(limit)} {label}, but its use is not known yet")
        shares.append(value / limit)
        parts.append(f"{size(value)} of {size(limit)} {label} ({percent(value / limit)})")
        shown.append(f"{percent(value / limit, 0 if value > limit / 10 else 1)} {label}")
    if not parts:
        key = deployed_size(entry)
        known = f"is {size(figure(entry, key)['value'])}" if key else "has no size reported"  # type: ignore[index]
        return _verdict("none", known.removeprefix("is "), f"{known}; {entry['target']['name']} sets no limit")
    fits = max(shares) <= 1
    return _verdict("good" if fits else "bad", ", ".join(shown), f"uses {listed(parts)}", 1 - max(shares))


def _faithful(entry: Entry) -> Verdict:
    result = entry["verify"]
    if result is None:
        return _verdict("open", "not verified", "has not been compared with the reference yet")
    error, same, tolerance = figure(entry, "max_abs_error"), figure(entry, "agreement"), result["tolerance"]
    steps = f" over {count(result['steps'], 'step')}" if result["steps"] else ""
    if result["golden_source"] == "random observations":
        steps += " of random observations"
    mark = "good" if result["passed"] else "bad"
    if error is None and same is not None:
        sentence = f"makes the same choice as the reference in {percent(same['value'], 2)} of decisions{steps}"
        return _verdict(mark, f"{percent(same['value'], 2)} same", sentence, same["value"])
    if error is None:
        return _verdict(mark, "passed" if result["passed"] else "failed", f"{'passed' if result['passed'] else 'failed'}{steps}")
    sentence = f"differs from the reference by at most {plain(error['value'], 3)}{steps}"
    if same is not None:
        sentence += f", and chooses the same in {percent(same['value'], 2)} of decisions"
    margin = float("inf")
    if tolerance:
        sentence += f"; {plain(tolerance, 3)} is tolerated"
        margin = 1 - error["value"] / tolerance
    return _verdict(mark, plain(error["value"], 2), sentence, margin)


def verdicts(entries: list[Entry]) -> list[dict[str, Any]]:
    """One card per question: key, question, mark, answer, and a sentence per target (or one for all)."""
    return [_card(key, entries) for key in QUESTIONS]


def _card(key: str, entries: list[Entry]) -> dict[str, Any]:
    question, good, bad = QUESTIONS[key]
    delivered = [entry for entry in entries if entry["role"] in DELIVERED] or entries
    groups: dict[str, list[Entry]] = {}
    for entry in delivered:
        place = entry["target"]["name"] if key in ("in_time", "fits") else (entry["env"] or "") if key == "flies" else ""
        groups.setdefault(place, []).append(entry)
    sentences = [sentence for group in groups.values() for sentence in _group(key, group, good, bad)]
    for entry in entries:
        if entry["role"] not in DELIVERED and entry["verdicts"][key]["mark"] == "bad":
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
        mark, answer = "none", "No limit to check" if key != "flies" else "No gate to check"
    return {"key": key, "question": question, "mark": mark, "answer": answer, "sentences": sentences}


def _group(key: str, group: list[Entry], good: str, bad: str) -> list[dict[str, Any]]:
    """Failures one by one, successes and gaps in one sentence each."""
    place = f" on {group[0]['target']['name']}" if key in ("in_time", "fits") else ""
    sentences = []
    of_mark: dict[str, list[Entry]] = {}
    for entry in sorted(group, key=lambda entry: _margin(entry, key)):
        of_mark.setdefault(entry["verdicts"][key]["mark"], []).append(entry)
    for mark in ("bad", "good", "none", "open"):
        members = of_mark.get(mark, [])
        if not members:
            continue
        first = members[0]
        detail = f"{first['label']} {first['verdicts'][key]['sentence']}"
        if len(members) == 1:
            text = f"{detail}."
        elif mark == "good":
            text = f"All {len(members)} artifacts" if len(members) == len(group) else f"{len(members)} artifacts"
            text += f"{place} {good}. The closest call: {detail}."
        elif mark == "bad":
            text = f"{len(members)} of {len(group)} artifacts{place} {bad}. The furthest off: {detail}."
        elif mark == "none":
            text = f"{len(members)} artifacts{place} have nothing to be judged by. For one, {detail}."
        else:
            text = f"{listed([entry['label'] for entry in members])}: {members[0]['verdicts'][key]['short']}."
        sentences.append({"mark": mark, "text": text, "before": False})
    return sentences


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
    mine = [entry for entry in entries if entry["policy"] == policy["id"]]
    text = f"A policy of {policy['parameters']:,} parameters in {size(policy['weight_bytes'])} of {policy['precision']} weights"
    original = next((p for p in policies if policy["parents_here"] and p["digest"] == policy["parents_here"][0]), None)
    if original:
        text += f", made from one of {original['parameters']:,} in {size(original['weight_bytes'])}"
    costs = []
    for entry in mine:
        key = typical_latency(entry)
        one = figure(entry, key) if key else None
        if one:
            place = f"{entry['target']['name']} through {entry['backend_name']}"
            costs.append(f"{duration(one['value'])} on {place} ({one['source']})")
    return f"{text}. A decision takes {listed(costs)}." if costs else f"{text}. No latency has been measured yet."


def did_not_help(pairs: list[dict[str, Any]], entries: list[Entry]) -> list[str]:
    """What compression made worse or left as it was although it was meant to improve it; computed, never invented."""
    found: list[str] = []
    by_id = {entry["id"]: entry for entry in entries}
    for pair in pairs:
        where = f"On {pair['target']} through {pair['backend_name']}"
        what = f"{listed(list(dict.fromkeys(pair['passes'])))} ({pair['before_name']} → {pair['after_name']})"
        what = what if pair["passes"] else f"going from {pair['before_name']} to {pair['after_name']}"
        changes = {change["metric"]: change for change in pair["changes"]}
        found += [f"{where}, {what} {text}" for text in _losses(pair, changes)]
        after = by_id[pair["after"]]
        loss = figure(after, "difference")
        if loss and loss["high"] is not None and loss["high"] < 0:
            found.append(
                f"{where}, {what} cost return: {plain(loss['value'])} against the reference ({_interval(loss)}), "
                "an interval that lies wholly below zero."
            )
    return list(dict.fromkeys(found))


def _losses(pair: dict[str, Any], changes: dict[str, dict[str, Any]]) -> list[str]:
    texts = []
    latency, tail, stored = changes.get("latency"), changes.get("tail"), changes.get("size")
    if latency and latency["effect"] == "worse":
        texts.append(f"made a decision slower: {_step(latency, duration)}.")
    elif latency and latency["effect"] == "same":
        reason = f", {latency['why']}" if latency["why"] else ""
        texts.append(f"did not make a decision measurably faster: {_step(latency, duration)}{reason}.")
    if tail and tail["effect"] == "worse" and not (latency and latency["effect"] == "worse"):
        texts.append(f"made the 99th percentile slower: {_step(tail, duration)}.")
    more_zeros = pair["zeros"][1] > pair["zeros"][0] + 0.01
    if stored and stored["effect"] in ("worse", "same"):
        grew = "made the artifact larger" if stored["effect"] == "worse" else "did not make the artifact smaller"
        texts.append(f"{grew}: {_step(stored, size)}.")
        if more_zeros:
            texts.append(
                f"set {percent(pair['zeros'][1])} of the weights to zero, and zeros take as much room there as other numbers."
            )
    ram = changes.get("ram")
    if ram and ram["effect"] == "worse":
        texts.append(f"takes more RAM: {_step(ram, size)}.")
    return texts


def _step(change: dict[str, Any], form: Any) -> str:
    share = f"{percent(change['change'], signed=True)}, " if change["change"] is not None else ""
    return f"{form(change['before'])} → {form(change['after'])} ({share}{change['source']})"
