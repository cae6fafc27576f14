"""Earlier runs of the same artifacts, kept beside the report, and what has become worse since.

REPORT.history.json holds the telling figures of each artifact with their dates, the newest last; a report adds what is new. A
figure is worse when it moved in its bad direction by more than 5 %, and the two intervals, where both have one, do not
overlap. Figures of different devices or sources are not held against each other.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field, TypeAdapter
from pydantic.dataclasses import dataclass

from ... import sealed
from ...targets.profile import validated
from .compare import Entry
from .glossary import title
from .numerals import with_unit
from .results import Figures

LOWER = (
    *(
        "latency_us",
        "guarded_latency_us",
        "cycles",
        "tight_p50_us",
        "tight_p99_us",
        "paced_p50_us",
        "paced_p99_us",
        "paced_p999_us",
        "paced_misses",
    ),
    *("soak_p99_us", "soak_misses", "guard_us", "guard_cycles", "energy_uj", "max_abs_error"),
    *("flash_bytes", "ram_bytes", "artifact_bytes"),
)
HIGHER = ("return", "retained", "fas_return", "agreement")
MATTERS = 0.05
RUNS = 200
"""Kept per artifact."""
SHOWN = 30
"""Of them in a figure's trend."""
_LENIENT = ConfigDict(extra="ignore", use_attribute_docstrings=True, allow_inf_nan=False)


@dataclass(frozen=True, config=_LENIENT)
class Run:
    """One artifact at one time."""

    label: str
    """NAME@TARGET.BACKEND, with what tells it from others of the report."""
    date: str
    """ISO time of its newest result."""
    digest: str
    """Of the artifact."""
    figures: Figures = Field(default_factory=dict)
    """The telling ones."""


@dataclass(frozen=True, config=_LENIENT)
class History:
    """The file."""

    runs: Annotated[tuple[Run, ...], Field(max_length=100_000)] = ()
    """Oldest first."""


_HISTORY: TypeAdapter[History] = TypeAdapter(History)


def history_path(output: Path) -> Path:
    """Where the history of a report lies."""
    return output.with_suffix(".history.json")


def read_history(output: Path) -> list[dict[str, Any]]:
    """Earlier runs as plain data; none where there is no file. BadInput where it is not what this version writes."""
    path = history_path(output)
    if not path.is_file():
        return []
    data = sealed.read_json(path, "the history of a report")
    return _HISTORY.dump_python(validated(_HISTORY, data, path), mode="json")["runs"]


def with_runs(earlier: list[dict[str, Any]], entries: list[Entry]) -> list[dict[str, Any]]:
    """The history with the artifacts of a report: a run that is in it already is not added again."""
    runs = list(earlier)
    for entry in entries:
        run = _run(entry)
        if run["date"] and not any(
            (old["label"], old["date"], old["digest"]) == (run["label"], run["date"], run["digest"]) for old in runs
        ):
            runs.append(run)
    kept = {label: [run for run in runs if run["label"] == label][-RUNS:] for label in {run["label"] for run in runs}}
    return [run for run in runs if any(run is each for each in kept[run["label"]])]


def _run(entry: Entry) -> dict[str, Any]:
    dates = [(entry[name] or {}).get("date") or "" for name in ("verify", "bench", "soak", "evaluate")]
    fields = ("value", "unit", "source", "samples", "low", "high", "device")
    figures = {
        each["key"]: {field: each[field] for field in fields} for each in entry["figures"] if each["key"] in LOWER + HIGHER
    }
    return {"label": entry["label"], "date": max(dates), "digest": entry["artifact_digest"], "figures": figures}


def changes(earlier: list[dict[str, Any]], entries: list[Entry]) -> list[dict[str, Any]]:
    """What moved since the run before, per artifact and figure: artifact, label, key, title, before, now, since, mark, sentence,
    trend.

    mark: "bad" (worse), "good" (better) or "none" (the same, as far as the intervals tell). trend: the same figure in at most
    SHOWN runs, this one the last: date, value, text, and its mark against the run before it.
    """
    found = []
    for entry in entries:
        now = _run(entry)
        runs = [run for run in earlier if run["label"] == now["label"] and run["date"] < now["date"]]
        for key, one in now["figures"].items() if runs else ():
            old = runs[-1]["figures"].get(key)
            if old is None or not _comparable(old, one):
                continue
            trend = _trend(key, [*runs, now])
            mark, then, new = trend[-1]["mark"], with_unit(old["value"], old["unit"]), with_unit(one["value"], one["unit"])
            said = {"bad": "worse than", "good": "better than", "none": "the same as"}[mark]
            date = moment(runs[-1]["date"])
            found.append(
                {
                    "artifact": entry["id"],
                    "label": entry["label"],
                    "key": key,
                    "title": title(key),
                    "before": then,
                    "now": new,
                    "since": date,
                    "mark": mark,
                    "sentence": f"{title(key)}: {new}, {said} {then} of {date}",
                    "trend": trend,
                }
            )
    return found


def moment(date: str) -> str:
    """An ISO time to the minute: several runs a day are usual."""
    return date[:16].replace("T", " ")


def _comparable(old: dict[str, Any], new: dict[str, Any]) -> bool:
    return None not in (old["value"], new["value"]) and (old["device"], old["source"]) == (new["device"], new["source"])


def _trend(key: str, runs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A figure in the newest of ``runs``, as far as it can be held against the last one's."""
    last = runs[-1]["figures"][key]
    told = [(run["date"], one) for run in runs if (one := run["figures"].get(key)) and _comparable(one, last)]
    marks = ["none", *(_mark(key, old, new) for (_, old), (_, new) in pairwise(told))]
    return [
        {"date": moment(date), "value": one["value"], "text": with_unit(one["value"], one["unit"]), "mark": mark}
        for (date, one), mark in zip(told, marks, strict=True)
    ][-SHOWN:]


def _mark(key: str, old: dict[str, Any], new: dict[str, Any]) -> str:
    step = (new["value"] - old["value"]) * (1 if key in LOWER else -1)  # above zero: worse
    if abs(step) <= MATTERS * abs(old["value"]) or step == 0:
        return "none"
    ends = [old["low"], old["high"], new["low"], new["high"]]
    if None not in ends and new["low"] <= old["high"] and old["low"] <= new["high"]:
        return "none"
    return "bad" if step > 0 else "good"
