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
from .html import render


def write_report(
    artifacts: Sequence[Artifact], output: Path, *, title: str | None = None, job: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Write ``output`` (a .html file) and, beside it, the same stem with .json; returns what the JSON holds.

    Results that an artifact does not have are said to be missing. ``job`` is shown as it is.
    Raises BadInput for no artifacts, a malformed stored result, or another file ending; MissingTool without the
    ``report`` extra. Earlier reports stay whole if anything fails.
    """
    output = Path(output)
    if output.suffix.lower() not in (".html", ".htm") or output.is_dir():
        raise BadInput(output, expected="a file name that ends in .html", found=repr(output.name), repair="Try -o report.html")
    report = collect(artifacts, output.parent, heading=title, job=job)
    films = {entry["id"]: data_uri(output.parent / entry["path"]) for entry in report["artifacts"] if entry["film"]}
    page = render(report, films)
    sealed.write_atomic(output.with_suffix(".json"), sealed.canonical_json(report))
    sealed.write_atomic(output, page)
    return report
