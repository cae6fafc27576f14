"""The host benchmark: a short run end to end, wrong answers are not timed, and the figures are what they say."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch):
    """Import a module of the benchmark by name: its folder is no package of Pilotfish's."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module


def _results(bench, lines, clock):
    results = bench("host_results")
    made = [results.Line("A", label, "peer", caller, "", 0.0, True, medians_ns=list(medians)) for label, caller, medians in lines]
    return results.Results({}, {}, {"A": "", "F": ""}, {}, {}, clock, made)


def test_a_short_run_checks_times_and_reports_every_contestant(tmp_path: Path) -> None:
    """numpy, ONNX Runtime and our C on the smallest policy: checked against float64, timed, written down."""
    for module in ("onnx", "onnxruntime"):
        pytest.importorskip(module)
    files = {"--json": tmp_path / "out.json", "--markdown": tmp_path / "out.md"}
    command = [sys.executable, str(FOLDER / "host.py"), "--rounds", "2", "--block-ms", "0.5", "--subjects", "A"]
    command += ["--peers", "onnxruntime,pilotfish,hand,numpy,litert", "--venvs", str(tmp_path), "--unpinned"]
    for option, path in files.items():
        command += [option, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    data = json.loads(files["--json"].read_text())
    lines = {line["label"]: line for line in data["lines"]}
    expected = {"ONNX Runtime", "ONNX Runtime, IO binding", "Pilotfish C, from Python", "Pilotfish C, from C"}
    assert expected | {"hand-written C", "numpy"} <= set(lines)
    for line in lines.values():
        assert line["right"] and line["deviation"] < 1e-4
        assert len(line["medians_ns"]) == 2 and line["median_ns"] > 0 and line["calls"] > 0
    assert lines["ONNX Runtime"]["net_ratio_to_onnxruntime"] == 1
    assert set(data["clock_ns"]) == {"Python", "C"}
    try:
        importlib.import_module("ai_edge_litert")
    except ModuleNotFoundError:
        assert "ai_edge_litert" in data["absent"]["litert"], "a missing peer is named by its package"
    assert "| hand-written C |" in files["--markdown"].read_text()
    assert "not measured  F:" in done.stdout


def test_a_wrong_contestant_is_seen(bench) -> None:
    """The check compares a whole rollout in order, from a reset, copies what it is handed, and refuses NaN and other shapes."""
    worker, contestant, subject = bench("peers.worker"), bench("peers.contestant"), bench("peers.subject")
    rows = np.arange(6, dtype=np.float32).reshape(3, 2)
    running = np.cumsum(rows, axis=0)
    arrays = {"weights": {}, "state": (("h", 2),), "observations": rows, "expected": running.astype(float)}
    made = subject.Subject("X", "", Path(), (), tolerance=1e-6, **arrays)
    state, out = np.full(2, 9, np.float32), np.zeros(2, np.float32)

    def reset() -> None:
        state[:] = 0

    def step(row: np.ndarray) -> np.ndarray:
        state[:] += row
        out[:] = state
        return out

    assert worker.check(contestant.Contestant("right", "", step, reset), made) == 0
    assert worker.check(contestant.Contestant("no reset", "", step, contestant.nothing), made) == 0, "reset left it at zero"
    step(rows[0])
    step(rows[1])
    assert worker.check(contestant.Contestant("no reset", "", step, contestant.nothing), made) > made.tolerance
    assert worker.check(contestant.Contestant("short", "", lambda row: row[:1], reset), made) == np.inf
    assert worker.check(contestant.Contestant("nan", "", lambda row: row * np.nan, reset), made) == np.inf


def test_ratios_are_of_the_same_round_and_say_what_the_clock_adds(bench) -> None:
    """A machine that slows down by ten in one round leaves every ratio where it was; less the clock it is exact."""
    ours = bench("host_results").OURS["Python"]
    clock = {"Python": 60.0, "C": 10.0}
    results = _results(bench, [("ONNX Runtime", "Python", (5060, 50060)), (ours, "Python", (160, 1060))], clock)
    line = results.line("A", ours)
    assert results.ratio(line, "ONNX Runtime") == pytest.approx(0.02)
    assert results.ratio(line, "ONNX Runtime", net=False) == pytest.approx(np.median([160 / 5060, 1060 / 50060]))
    assert results.net_ns(line) == pytest.approx(610 - 60)
    assert results.ratio(line, "LiteRT") is None


def test_goals_are_met_short_or_not_measured(bench) -> None:
    """25 times as fast as ONNX Runtime is the goal on A: 50 meets it, 10 does not, and what is absent is never met."""
    ours, clock = bench("host_results").OURS["Python"], {"Python": 0.0}
    for nanoseconds, word in ((100, "met"), (500, "short")):
        results = _results(bench, [("ONNX Runtime", "Python", (5000,)), (ours, "Python", (nanoseconds,))], clock)
        judged = bench("host_goals").verdicts(results)
        found = {verdict.goal.other: verdict.word for verdict in judged if verdict.goal.subject == "A"}
        assert found["ONNX Runtime"] == word and found["LiteRT"] == "not measured"


def test_subjects_are_what_their_titles_say(bench) -> None:
    """95 % of the pruned weights are zero, the int8 one has rounded activations, and a folder reads back as it was written."""
    pytest.importorskip("onnx")
    subjects = bench("host_subjects")
    made = {name: subjects.policy(name) for name in ("E", "EB", "F")}
    for name in ("E", "EB"):
        matrices = [value for value in made[name].weights.values() if value.ndim == 2]
        zero = 1 - sum(np.count_nonzero(m) for m in matrices) / sum(m.size for m in matrices)
        assert zero == pytest.approx(0.95, abs=0.002)
    assert made["F"].precision == "int8" and any(layer.kind == "quantize" for layer in made["F"].layers)


def test_a_subject_reads_back_as_it_was_written(bench, tmp_path: Path) -> None:
    """What peers read is what the reference answered to; dequantized int8 weights are near their float twin's."""
    pytest.importorskip("onnx")
    subjects = bench("host_subjects")
    subjects.write_subject("F", tmp_path)
    loaded = bench("peers.subject").Subject.load(tmp_path / "F")
    twin = loaded.twin()
    assert loaded.quantized and not twin.quantized and twin.name == "A"
    assert np.array_equal(loaded.observations, twin.observations)
    weight = twin.weights["fc1.weight"]
    assert np.abs(loaded.matrix("fc1.weight") - weight).max() <= np.abs(weight).max() / 127
    assert 0 < np.abs(loaded.expected - twin.expected).max() < loaded.tolerance
