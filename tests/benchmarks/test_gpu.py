"""The GPU benchmark checks before it times, reports refusals in their own words, and says where nothing was measured."""

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("gymnasium")

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def gpu(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    yield importlib.import_module("gpu")
    for name in [name for name in sys.modules if name.partition(".")[0] in ("gpu", "gpu_flight", "gpu_peers")]:
        del sys.modules[name]


def run(gpu, tmp_path, *arguments):
    code = gpu.main([*arguments, "--rounds", "2", "--json", str(tmp_path / "out.json"), "--markdown", str(tmp_path / "out.md")])
    return code, json.loads((tmp_path / "out.json").read_text()), (tmp_path / "out.md").read_text()


def test_rows_states_and_batches_are_right(gpu, tmp_path):
    code, found, page = run(
        gpu, tmp_path, "--device", "cpu", "--peers", "onnxruntime", "--batches", "1,5", "--policies", "gru,17-64"
    )
    assert code == 0 and len(found["rows"]) == 4 and "batch 5" in page
    for row in found["rows"]:
        assert row["right"] and row["deviation"] < 1e-6 and min(row["calls_us"]) > 0
        assert row["notes"]["providers"] == ["CPUExecutionProvider"]


def test_a_wrong_contestant_is_shown_and_not_timed(gpu, tmp_path, monkeypatch):
    from gpu_peers import on_onnxruntime

    real = on_onnxruntime._contestant

    def off_by_a_little(*arguments):
        made = real(*arguments)
        right = made.act
        made.act = lambda values: right(values) + np.float32(1e-3)
        return made

    monkeypatch.setattr(on_onnxruntime, "_contestant", off_by_a_little)
    code, found, _ = run(gpu, tmp_path, "--device", "cpu", "--peers", "onnxruntime", "--batches", "1", "--policies", "17-64")
    assert code == 3 and not found["rows"][0]["right"] and not found["rows"][0]["calls_us"]


def test_without_a_gpu_every_refusal_has_its_words(gpu, tmp_path):
    import onnxruntime

    from pilotfish.targets.onnxruntime import PROVIDERS

    if PROVIDERS["cuda"] in onnxruntime.get_available_providers():
        pytest.skip("a GPU build of ONNX Runtime is here")
    arguments = ("--peers", "onnxruntime,tensorrt", "--batches", "1", "--policies", "17-64")
    _, found, page = run(gpu, tmp_path, *arguments)
    assert any("CUDAExecutionProvider" in words for words in found["absent"].values())
    assert any(name.startswith("TensorRT") for name in found["absent"]) and "### Not measured" in page


@pytest.mark.parametrize("batch", [1, 3])
def test_tensorrt_rows_keep_their_own_states(gpu, standin_gpu, batch):
    """On the stand-in (tests/standins): buffers, states and shapes for several rows; not a real engine's arithmetic."""
    from gpu_peers import on_tensorrt
    from gpu_peers.contestant import Contestant, Workload

    for name in ("17-64-64-6 tanh", "GRU 48→64→12"):
        workload = Workload(name, gpu.drawn("drawn", gpu.POLICIES[name]), batch)
        made = list(on_tensorrt.make(workload, "cuda"))
        assert any(isinstance(one, Contestant) for one in made)
        for one in made:
            if isinstance(one, Contestant):
                assert gpu.deviation(one, workload) < 1e-6
                assert len(one.gpu_us(3)) == 3
                one.close()
