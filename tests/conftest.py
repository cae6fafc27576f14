"""Shared by all rooms' tests: one thread a process, short golden rollouts, a private trust ledger, others' policies."""

from __future__ import annotations

import ctypes
import gc
import importlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import hypothesis
import pytest

EXAMPLES = int(os.environ.get("PILOTFISH_EXAMPLES", "25"))
"""Of every law that does not say how many it needs."""
hypothesis.settings.register_profile(
    "repeatable",
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
    max_examples=EXAMPLES,
)
hypothesis.settings.load_profile("repeatable")  # the same examples every time, however slow the machine

STANDINS = Path(__file__).parent / "standins"
"""What stands in for a GPU where there is none: see the files there."""


for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"):  # before numpy is imported, and for every child
    os.environ.setdefault(_variable, "1")


def pytest_collection_finish(session: pytest.Session) -> None:
    """What the imports of torch, TVM and three thousand tests made stays to the end: looking through it for garbage again and
    again takes a fifteenth of the time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 100)


@pytest.fixture(autouse=True, scope="session")
def _quiet_machine() -> None:
    from pilotfish.policy.environment import listen_to_mujoco

    listen_to_mujoco()  # else a test that makes an environment by itself leaves MUJOCO_LOG.TXT in the current folder
    try:
        import torch
    except ModuleNotFoundError:
        return
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _private_ledger(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tests neither read nor write the user's own list of trusted artifacts."""
    monkeypatch.setenv("PILOTFISH_HOME", str(tmp_path_factory.getbasetemp() / "pilotfish-home"))


@pytest.fixture
def long_golden_rollouts() -> None:
    """A test that asks for this records as many decisions as a real run does."""


@pytest.fixture(autouse=True)
def _short_golden_rollouts(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """200 decisions where nobody says how many: the 1000 of real runs cost more than most trainings here."""
    if "long_golden_rollouts" in request.fixturenames:
        return
    from pilotfish.policy.record import record_golden

    monkeypatch.setattr(record_golden, "__defaults__", (200, 0))
    recipe = sys.modules.get("pilotfish.compress.recipe")
    if recipe is not None:
        monkeypatch.setattr(recipe, "GOLDEN_STEPS", 200)


@pytest.fixture
def shared_policy():
    """Path of a policy that somebody else trained, or a skip that names it."""
    root = Path(os.environ.get("PILOTFISH_SHARED_POLICIES", Path(__file__).resolve().parents[2] / "shared" / "policies"))

    def find(relative: str) -> Path:
        path = root / relative
        if not path.exists():
            pytest.skip(f"{relative} is not here (set PILOTFISH_SHARED_POLICIES)")
        return path

    return find


@pytest.fixture(scope="session")
def standin_cuda(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tests/standins/cuda.c as libcuda.so.1 in a folder of its own, or a skip that names the compiler."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        pytest.skip("no system C compiler (cc, gcc, clang)")
    library = tmp_path_factory.mktemp("standin") / "libcuda.so.1"
    flags = ["-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-fPIC", "-shared"]
    subprocess.run([compiler, *flags, str(STANDINS / "cuda.c"), "-o", str(library)], check=True)
    return library


@pytest.fixture
def standin_gpu(standin_cuda: Path, monkeypatch: pytest.MonkeyPatch) -> ctypes.CDLL:
    """A GPU of compute capability 8.7 with TensorRT 10.3 and TensorRT-RTX 1.7, played by tests/standins; returns its libcuda."""
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from pilotfish.runtime import cuda_driver, tensorrt_engine

    monkeypatch.setattr(cuda_driver, "LIBRARIES", (str(standin_cuda),))
    monkeypatch.setattr(tensorrt_engine, "_loggers", {})
    monkeypatch.setenv("STANDIN_CUDA", str(standin_cuda))
    monkeypatch.syspath_prepend(STANDINS)
    importlib.invalidate_caches()
    for name in ("tensorrt", "tensorrt_rtx"):
        monkeypatch.setitem(sys.modules, name, None)  # what the test began with comes back after it
        del sys.modules[name]
        importlib.import_module(name)
    return ctypes.CDLL(str(standin_cuda))
