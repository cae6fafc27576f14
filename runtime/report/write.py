"""Writing a report: one page for people, one JSON for machines, both whole or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ... import sealed
from ...errors import BadInput
from ..artifact import Artifact
from .data import collect
from .films import data_uri
from .gates import judge_gates, parse_gate
from .history import changes, history_path, read_history, with_runs
from .html import render
from .junit import junit


def write_report(
    artifacts: Sequence[Artifact],
    output: Path,
    *,
    title: str | None = None,
    job: dict[str, Any] | None = None,
    fail_on: Sequence[str] = (),
) -> dict[str, Any]:
    """Write ``output`` (a .html file) and, beside it, the same stem with .json; returns what the JSON holds.

    ``fail_on``: gates (:mod:`pilotfish.runtime.report.gates`), judged in ``gates`` and, as JUnit XML, in the same stem with
    .junit.xml. Earlier reports of the same name are remembered in .history.json, see :mod:`pilotfish.runtime.report.history`.
    Results that an artifact does not have are said to be missing. ``job`` is shown as it is.
    Raises BadInput for no artifacts, a malformed stored result, or another file ending; MissingTool without the
    ``report`` extra. Earlier reports stay whole if anything fails.
    """
    output = Path(output)
    if output.suffix.lower() not in (".html", ".htm") or output.is_dir():
        raise BadInput(output, expected="a file name that ends in .html", found=repr(output.name), repair="Try -o report.html")
    gates = [parse_gate(text) for text in fail_on]
    report = collect(artifacts, output.parent, heading=title, job=job)
    earlier = read_history(output)
    report["changes"] = changes(earlier, report["artifacts"])
    report["gates"] = judge_gates(report["artifacts"], gates, report["changes"])
    films = {entry["id"]: data_uri(output.parent / entry["path"]) for entry in report["artifacts"] if entry["film"]}
    page = render(report, films)
    if gates:
        sealed.write_atomic(output.with_suffix(".junit.xml"), junit(report["gates"], report["title"], report["date"]))
    sealed.write_atomic(history_path(output), sealed.canonical_json({"runs": with_runs(earlier, report["artifacts"])}))
    sealed.write_atomic(output.with_suffix(".json"), sealed.canonical_json(report))
    sealed.write_atomic(output, page)
    return report
