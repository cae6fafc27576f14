"""Law: a search is kept and reused, its result computes the reference, and it is refused where it could not time anything."""

from __future__ import annotations

import importlib.metadata
from pathlib import Path

import numpy as np
import pytest

from pilotfish.errors import MissingTool, Unsupported
from pilotfish.policy import Golden
from pilotfish.policy.layers import Activation, Linear
from pilotfish.policy.reference import Reference
from pilotfish.targets import load_target, with_tune_trials


@pytest.fixture
def policy(make_policy):
    for package in ("tvm", "onnx", "psutil", "cloudpickle"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    made = make_policy((Linear("a", 4, 16), Activation("tanh"), Linear("b", 16, 2)), 4, 2, 0, normalizer=False)
    obs = np.random.default_rng(0).standard_normal((20, 4)).astype(np.float32)
    reference = Reference(made)
    action = np.stack([reference.act(row) for row in obs])
    return made.replace(golden=Golden(obs, action, np.zeros((20, 0), np.float32), np.arange(20) == 0, "random observations"))


def test_a_search_is_kept_and_its_result_computes_the_reference(policy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PILOTFISH_HOME", str(tmp_path / "home"))
    from tvm.s_tir.meta_schedule import relax_integration

    from pilotfish.export.build import export_policy
    from pilotfish.export.tvm.processor import processor_for
    from pilotfish.export.tvm.tuning import database_folder
    from pilotfish.runtime.verify import verify

    target = with_tune_trials(load_target("host-cpu"), 2)
    artifact = export_policy(policy, target, "tvm", tmp_path / "first")
    assert verify(artifact)["passed"] and artifact.manifest.tools["tune_trials"] == "2"
    assert "best of" in artifact.manifest.tools["schedule"]
    records = database_folder(processor_for(target)) / "database_tuning_record.json"
    assert len(records.read_text().splitlines()) >= 2
    assert (artifact.path / "tuning" / records.name).read_text() == records.read_text()

    def searching(*_: object, **__: object) -> None:
        raise AssertionError("it searches again")

    monkeypatch.setattr(relax_integration, "tune_relax", searching)
    again = export_policy(policy, target, "tvm", tmp_path / "second")
    assert verify(again)["passed"]


def test_what_cannot_be_timed_here_is_not_searched(policy, tmp_path: Path) -> None:
    from pilotfish.export.onnx import to_onnx
    from pilotfish.export.tvm import build

    with pytest.raises(Unsupported, match="aarch64-linux"):
        build(policy, to_onnx(policy), with_tune_trials(load_target("raspberry-pi-4"), 4), tmp_path)


def test_the_version_that_crashes_is_named(policy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from pilotfish.export.onnx import to_onnx
    from pilotfish.export.tvm import build, tuning

    found = {"apache-tvm": "0.27.0.post1", "apache-tvm-ffi": "0.1.15.post2"}
    monkeypatch.setattr(tuning, "version", lambda name: found.get(name) or importlib.metadata.version(name))
    with pytest.raises(MissingTool, match=r"apache-tvm-ffi==0\.1\.14\.post1"):
        build(policy, to_onnx(policy), with_tune_trials(load_target("host-cpu"), 4), tmp_path)
