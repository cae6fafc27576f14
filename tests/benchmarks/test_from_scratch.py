"""The benchmark of sparse training: small networks have as many numbers, and what is measured is not measured again."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("mujoco", reason="mujoco is not installed")

FOLDER = Path(__file__).parents[2] / "benchmarks" / "compression"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    yield importlib.import_module("from_scratch")
    for name in [name for name in sys.modules if name.startswith("from_scratch")]:
        del sys.modules[name]


@pytest.mark.parametrize("sparsity", [0.9, 0.95, 0.99])
def test_a_small_network_has_as_many_numbers_as_the_sparse_one(benchmark, sparsity: float) -> None:
    (width, same) = benchmark.small(17, 6, (256, 256), sparsity)
    dense = 17 * 256 + 256 * 256 + 256 * 6
    aim = dense - round(sparsity * dense) + 256 + 256 + 6
    has = [17 * w + w * w + w * 6 + 2 * w + 6 for w in (width - 1, width, width + 1)]
    assert width == same
    assert abs(has[1] - aim) == min(abs(count - aim) for count in has)


def test_a_difference_between_trainings_has_an_interval(benchmark) -> None:
    table = importlib.import_module("from_scratch_table")
    ours, theirs = np.array([3.0, 4.0, 5.0]), np.array([1.0, 2.0, 1.5])
    found = table.difference(ours, theirs)
    assert found.value == pytest.approx(2.5)
    assert found.low > 0
    assert table._verdict(ours, theirs) == "above" and table._verdict(theirs, ours) == "below"
    assert table._verdict(ours, ours[::-1]) == "even"


def test_trainings_are_kept_and_not_done_again(benchmark, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    path = tmp_path / "runs.jsonl"
    arguments = [
        "from_scratch.py", "--json", str(path), "--table", str(tmp_path / "table.md"), "--algorithms", "ppo", "--tasks",
        "Reacher-v5", "--steps", "2048", "--hidden", "8,8", "--episodes", "2", "--seeds", "1", "--only", "dense,prune-90",
    ]  # fmt: skip
    monkeypatch.setattr(sys, "argv", arguments)
    benchmark.main()
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["contestant"] for line in lines] == ["random", "dense", "prune-90"]
    assert lines[2]["sparsity"]["final"] == 0.9 and lines[2]["nonzero"] < lines[1]["nonzero"]
    assert len(set(lines[1]["returns"])) == 2
    assert not list((tmp_path / "runs.runs").iterdir())
    monkeypatch.setattr(benchmark, "_train", lambda *_: pytest.fail("it trained again"))
    benchmark.main()
    assert path.read_text().count("\n") == 3
    table = (tmp_path / "table.md").read_text()
    assert "| prune-90 |" in table and table in capsys.readouterr().out
