"""report, what it refuses: malformed results, senseless figures, wrong use; the earlier report stays."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from pilotfish.errors import BadInput
from pilotfish.runtime.artifact import Artifact
from pilotfish.runtime.report import write_report

pytest.importorskip("plotly")
pytest.importorskip("jinja2")


@pytest.mark.parametrize(
    ("name", "spoil", "words"),
    [
        ("bench", {"figures": {"tight_p50_us": {"value": "fast", "unit": "us", "source": "measured"}}}, "figures.tight_p50_us"),
        ("bench", {"figures": {"tight_p50_us": {"value": 1.0, "unit": "us", "source": "guessed"}}}, "source"),
        ("bench", {"histograms": {"tight": {"edges_us": [1.0, 2.0], "counts": [1, 2]}}}, "2 edges for 2 counts"),
        ("evaluate", {"returns": [1.0], "reference_returns": [1.0, 2.0]}, "1 returns for 2 reference returns"),
        ("verify", {"passed": "perhaps"}, "passed"),
    ],
)
def test_a_malformed_result_is_refused_and_the_earlier_report_stays(
    shelf: SimpleNamespace, tmp_path: Path, name: str, spoil: dict, words: str
) -> None:
    artifact = shelf.build(tmp_path, shelf.policy())
    page = tmp_path / "r.html"
    write_report([artifact], page)
    before = page.read_bytes()
    artifact.store_result(name, spoil)
    with pytest.raises(BadInput, match=re.escape(words)) as caught:
        write_report([artifact], page)
    assert f"Run pilotfish {name}" in str(caught.value)
    assert page.read_bytes() == before


def test_infinite_figures_are_refused(shelf: SimpleNamespace, tmp_path: Path) -> None:
    artifact = shelf.build(tmp_path, shelf.policy())
    path = artifact.store_result("bench", {"figures": {"tight_p50_us": shelf.one(1.5, "us")}})
    path.write_text(path.read_text().replace("1.5", "Infinity"))
    with pytest.raises(BadInput, match="not a finite number"):
        write_report([artifact], tmp_path / "r.html")


def test_wrong_use_is_explained(demo: list[Artifact], tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="at least one artifact"):
        write_report([], tmp_path / "r.html")
    with pytest.raises(BadInput, match=r"ends in \.html"):
        write_report(demo, tmp_path / "r.json")
    with pytest.raises(BadInput, match="settings that JSON can hold"):
        write_report(demo, tmp_path / "r.html", job={"path": tmp_path})
