"""report --fail-on: gates decide, CI reads them, and what became worse since the report before is marked."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from pilotfish.errors import BadInput
from pilotfish.runtime.report import write_report
from pilotfish.runtime.report.gates import parse_gate
from pilotfish.runtime.report.history import changes, history_path, with_runs
from pilotfish.runtime.report.junit import junit

pytest.importorskip("plotly")
pytest.importorskip("jinja2")


def one(
    value: float | None, unit: str = "us", low: float | None = None, high: float | None = None, device: str = "board"
) -> dict:
    return {"value": value, "unit": unit, "source": "measured", "samples": 9, "low": low, "high": high, "device": device}


def store(artifact, p99: float, date: str, misses: float = 0, **more) -> None:
    figures = {"paced_p99_us": one(p99, low=p99 * 0.95, high=p99 * 1.05), "paced_misses": one(misses, "periods")} | more
    figures["paced_worst_us"] = one(p99 * 2)
    fields = {"deadline_us": 2000.0, "control_hz": 500.0, "deadline_met": misses == 0, "date": date}
    artifact.store_result("bench", {"figures": figures, **fields})


@pytest.fixture
def artifact(build, policy_of):
    return build(policy_of())


def test_gates_are_judged_and_written_for_ci(artifact, tmp_path: Path) -> None:
    store(artifact, 100.0, "2026-01-01T10:00:00+00:00", misses=2)
    gates = ["in_time", "paced_p99_us < 150", "paced_p99_us<=99.5", "faithful", "cycles<1e6", "regression"]
    report = write_report([artifact], tmp_path / "r.html", fail_on=gates)
    assert [each["state"] for each in report["gates"]] == ["failed", "passed", "failed", "failed", "failed", "passed"]
    by_gate = {each["gate"]: each["message"] for each in report["gates"]}
    assert "late" in by_gate["in_time"] and "100 us (measured)" in by_gate["paced_p99_us<=99.5"]
    assert "nor has any other" in by_gate["cycles<1e6"]  # a typo must not pass
    suite = ElementTree.parse(tmp_path / "r.junit.xml").getroot()
    assert suite.attrib | {"tests": "6", "failures": "4", "skipped": "0"} == suite.attrib
    assert [case.get("name") for case in suite.iter("testcase")] == gates
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert "Gates and history" in page and json.loads((tmp_path / "r.json").read_text())["gates"] == report["gates"]


def test_a_figure_that_only_others_have_is_skipped(artifact, build, policy_of, tmp_path: Path) -> None:
    other = build(policy_of(seed=1))
    store(artifact, 100.0, "2026-01-01T10:00:00+00:00")
    store(other, 100.0, "2026-01-01T10:00:00+00:00", cycles=one(5, "cycles"))
    report = write_report([artifact, other], tmp_path / "r.html", fail_on=["cycles<10"])
    assert sorted(each["state"] for each in report["gates"]) == ["passed", "skipped"]


def test_without_gates_nothing_is_judged(artifact, tmp_path: Path) -> None:
    report = write_report([artifact], tmp_path / "r.html")
    assert report["gates"] == report["changes"] == [] and not (tmp_path / "r.junit.xml").exists()
    assert "Gates and history" not in (tmp_path / "r.html").read_text(encoding="utf-8")


@pytest.mark.parametrize("text", ["", "in_tim", "paced_p99_us", "paced_p99_us ! 3", "x<y", "x<1;import os", "<5", "x<nan"])
def test_senseless_gates_are_refused(text: str) -> None:
    with pytest.raises(BadInput, match="fail-on"):
        parse_gate(text)


def test_a_regression_is_marked_and_fails_its_gate(artifact, tmp_path: Path) -> None:
    for date, p99 in (("2026-01-01", 100.0), ("2026-01-02", 104.0), ("2026-01-03", 140.0)):
        store(artifact, p99, f"{date}T10:00:00+00:00", artifact_bytes=one(1000.0, "bytes"))
        report = write_report([artifact], tmp_path / "r.html", fail_on=["regression"])
        state = {"2026-01-03": "failed"}.get(date, "passed")
        assert report["gates"][0]["state"] == state
    worse = next(change for change in report["changes"] if change["key"] == "paced_p99_us")
    assert worse["mark"] == "bad" and worse["since"] == "2026-01-02 10:00" and "worse than" in report["gates"][0]["message"]
    assert all(change["mark"] == "none" for change in report["changes"] if change["key"] != "paced_p99_us")
    assert [(point["value"], point["mark"]) for point in worse["trend"]] == [(100, "none"), (104, "none"), (140, "bad")]
    page = (tmp_path / "r.html").read_text(encoding="utf-8")
    assert page.count('<circle class="bad"') == 1 and 'href="#gates"' in page  # the picture of the runs marks the third one
    runs = json.loads(history_path(tmp_path / "r.html").read_text())["runs"]
    assert [run["figures"]["paced_p99_us"]["value"] for run in runs] == [100, 104, 140]
    again = write_report([artifact], tmp_path / "r.html", fail_on=["regression"])  # the same results: no new run
    assert len(json.loads(history_path(tmp_path / "r.html").read_text())["runs"]) == 3
    assert again["changes"] == report["changes"]


def entry(value: float, low=None, high=None, key="paced_p99_us", unit="us", date="2026-02-02", device="board") -> dict:
    figures = [{"key": key} | one(value, unit, low, high, device)]
    return {"id": "a1", "label": "x", "artifact_digest": "d", "bench": {"date": date}, "figures": figures} | dict.fromkeys(
        ("verify", "soak", "evaluate")
    )


@pytest.mark.parametrize(
    ("before", "now", "mark"),
    [
        ((100,), (104,), "none"),
        ((100,), (106,), "bad"),
        ((100,), (90,), "good"),
        ((100, 80, 120), (130, 110, 150), "none"),  # the intervals overlap
        ((100, 95, 105), (130, 120, 140), "bad"),
        ((0,), (1,), "bad"),
        ((0,), (0,), "none"),
    ],
)
def test_what_counts_as_worse(before: tuple, now: tuple, mark: str) -> None:
    earlier = with_runs([], [entry(*before, date="2026-01-01")])
    (change,) = changes(earlier, [entry(*now)])
    assert change["mark"] == mark
    earlier = with_runs([], [entry(*before, key="return", unit="return", date="2026-01-01")])
    (change,) = changes(earlier, [entry(*now, key="return", unit="return")])  # more is better here
    assert change["mark"] == {"bad": "good", "good": "bad"}.get(mark, mark)
    assert changes(with_runs([], [entry(*before, date="2026-01-01", device="another")]), [entry(*now)]) == []


def test_a_history_that_is_none_is_refused_and_the_report_stays(artifact, tmp_path: Path) -> None:
    write_report([artifact], tmp_path / "r.html")
    page = (tmp_path / "r.html").read_bytes()
    history_path(tmp_path / "r.html").write_text('{"runs": [{"label": 3}]}')
    with pytest.raises(BadInput, match="history"):
        write_report([artifact], tmp_path / "r.html")
    assert (tmp_path / "r.html").read_bytes() == page


def test_junit_holds_a_strangers_text() -> None:
    outcome = {"gate": 'a"<&\x00', "artifact": "a1", "label": "</x>\ud800", "state": "failed", "message": "\x1b[31m&"}
    text = junit([outcome, outcome | {"state": "skipped"}], "t\x01", "2026-01-01")
    root = ElementTree.fromstring(text)
    assert root.get("name") == "t?" and root.find("testsuite").get("name") == "</x>?"
    assert root.find(".//failure").get("message") == "?[31m&" and root.find(".//skipped") is not None
