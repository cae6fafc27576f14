"""report, the verdicts: they follow from the stored results, and what is missing is said."""

from __future__ import annotations

import html
import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pilotfish.runtime.artifact import Artifact
from pilotfish.runtime.report import write_report

pytest.importorskip("plotly")
pytest.importorskip("jinja2")


def texts(report: dict[str, Any], key: str) -> str:
    return " ".join(line["text"] for card in report["verdicts"] if card["key"] == key for line in card["sentences"])


def card(report: dict[str, Any], key: str) -> dict[str, Any]:
    return next(card for card in report["verdicts"] if card["key"] == key)


def test_verdicts_follow_from_the_results(demo: list[Artifact], tmp_path: Path) -> None:
    report = write_report(demo, tmp_path / "r.html")
    assert [card["mark"] for card in report["verdicts"]] == ["good"] * 4
    assert [policy["role"] for policy in report["policies"]] == ["before", "after"]
    assert "98." in texts(report, "flies") and "gate of 95.0" in texts(report, "flies")
    assert "18 times faster" in texts(report, "in_time") and "estimated" in texts(report, "in_time")
    assert "1\u00a0MiB flash" in texts(report, "fits")
    assert len(report["comparisons"]) == 3


def test_what_did_not_help_is_computed(demo: list[Artifact], tmp_path: Path) -> None:
    report = write_report(demo, tmp_path / "r.html")
    by_place = {setback["where"]: " ".join(setback["texts"]) for setback in report["did_not_help"]}
    runtime = by_place["host-cpu through ONNX Runtime"]
    assert "A decision became slower: 6." in runtime and "did not become smaller" in runtime and "are zero" in runtime
    assert "slower" not in by_place["crazyflie through C"] and "smaller" not in by_place["crazyflie through C"]
    assert "cost return" in by_place["crazyflie through C"]


def test_failures_are_named(shelf: SimpleNamespace, tmp_path: Path) -> None:
    made = shelf.policy()
    artifact = shelf.build(tmp_path, made, "crazyflie")
    shelf.store_verify(artifact, passed=False, error=0.2)
    shelf.store_bench(artifact, 9_000.0, deadline_us=2000.0, met=False, flash=2_000_000)
    shelf.store_evaluate(artifact, 3000, 5892, passed=False)
    report = write_report([artifact], tmp_path / "r.html")
    assert [card["mark"] for card in report["verdicts"]] == ["bad"] * 4
    assert [card["answer"] for card in report["verdicts"]] == ["No"] * 4
    assert "the gate of 95.0\u00a0% is not passed" in texts(report, "flies")
    assert "(190.7\u00a0%)" in texts(report, "fits")


def test_an_original_that_fails_does_not_spoil_the_verdict(shelf: SimpleNamespace, tmp_path: Path) -> None:
    original = shelf.policy()
    small = shelf.policy("small", 16, parent=original)
    artifacts = [shelf.build(tmp_path, each, "crazyflie") for each in (original, small)]
    shelf.store_bench(artifacts[0], 9_000.0, deadline_us=2000.0, met=False)
    shelf.store_bench(artifacts[1], 90.0, deadline_us=2000.0)
    report = write_report(artifacts, tmp_path / "r.html")
    assert card(report, "in_time")["mark"] == "good"
    assert "Before compression, cheetah@crazyflie.c takes" in texts(report, "in_time")


def test_missing_results_are_said_in_words(shelf: SimpleNamespace, tmp_path: Path) -> None:
    artifact = shelf.build(tmp_path, shelf.policy(env=None), "crazyflie")
    page = tmp_path / "r.html"
    report = write_report([artifact], page)
    assert [card["mark"] for card in report["verdicts"]] == ["open"] * 4
    text = html.unescape(page.read_text())
    for words in (
        "names no environment",
        "has not been measured yet",
        "has not been compared",
        "is not known yet",
        "Neither verified, benched nor evaluated yet",
        "nothing can be said",
    ):
        assert words in text, words
    assert report["did_not_help"] == [] and report["comparisons"] == []


@pytest.mark.parametrize(
    ("target", "words"), [("host-cpu", "this process"), ("raspberry-pi-5", "SSH"), ("crazyflie", "a virtual board")]
)
def test_how_the_device_is_reached_is_said(shelf: SimpleNamespace, tmp_path: Path, target: str, words: str) -> None:
    page = tmp_path / "r.html"
    write_report([shelf.build(tmp_path, shelf.policy(), target)], page)
    assert re.search(rf"Reached by</\w+>\s*<\w+>(<\w+>)?{words}", html.unescape(page.read_text()))


def test_discrete_recurrent_negative_and_twelve_artifacts(shelf: SimpleNamespace, tmp_path: Path) -> None:
    artifacts = []
    for number in range(6):
        made = shelf.policy(f"p{number}", 8 + number, kind="discrete" if number % 2 else "continuous", recurrent=number % 3 == 0)
        for backend in ("c", "onnxruntime"):
            artifact = shelf.build(tmp_path, made, "host-cpu", backend)
            shelf.store_verify(artifact, discrete=bool(number % 2))
            shelf.store_bench(artifact, 1.0 + number, met=number != 5)
            shelf.store_evaluate(artifact, -5.0 - number, -4.0, gate=0.9 if number == 1 else None, passed=number != 1)
            artifacts.append(artifact)
    page = tmp_path / "r.html"
    report = write_report(artifacts, page)
    assert len(report["artifacts"]) == 12 and len({entry["label"] for entry in report["artifacts"]}) == 12
    assert card(report, "flies")["mark"] == "bad" and "%" not in report["artifacts"][0]["verdicts"]["flies"]["short"]
    assert card(report, "in_time")["answer"] == "Not everywhere"
    assert any("GRU 8" in entry["layers"] for entry in report["policies"])
    assert "choices, the most likely one is taken" in page.read_text()
    shelf.assert_alive(shelf.browse(page, tmp_path))


def test_a_percentile_without_support_is_a_dash_with_its_reason(demo: list[Artifact], tmp_path: Path) -> None:
    page = tmp_path / "r.html"
    write_report(demo, page)
    row = re.search(r"Response, 99\.9th percentile, paced.*?</tr>", page.read_text(), re.S)
    assert row and 'title="400 decisions do not hold a 99.9th percentile">—</td>' in row.group()


def test_sources_are_never_mixed_silently(shelf: SimpleNamespace, tmp_path: Path) -> None:
    original = shelf.policy()
    small = shelf.policy("small", 16, parent=original)
    artifacts = [shelf.build(tmp_path, each, "crazyflie") for each in (original, small)]
    for artifact in artifacts:
        shelf.store_bench(artifact, 100.0, deadline_us=2000.0)
    data = artifacts[1].result("bench")
    assert data
    data["figures"]["latency_us"]["source"] = "measured"
    artifacts[1].store_result("bench", data)
    report = write_report(artifacts, tmp_path / "r.html")
    change = next(change for change in report["comparisons"][0]["changes"] if change["metric"] == "latency")
    assert change["effect"] == "unclear" and change["why"] == "estimated against measured"
    text = (tmp_path / "r.html").read_text()
    assert "latency measured" in text and "latency estimated" in text
