"""Law: every call that the driver refuses is an error that names the call and the driver's reason."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np
import pytest

from pilotfish.runtime import cuda_driver
from pilotfish.runtime.cuda_driver import CudaError, Driver, NoDevice


@pytest.fixture
def driver(standin_cuda: Path, monkeypatch: pytest.MonkeyPatch) -> Driver:
    monkeypatch.setattr(cuda_driver, "LIBRARIES", (str(standin_cuda),))
    return Driver()


def test_what_is_written_can_be_read_back(driver: Driver) -> None:
    stream, there, here = driver.stream(), driver.allocate(40), np.arange(10, dtype=np.float32)
    back = np.zeros_like(here)
    driver.write(there, here.ctypes.data, here.nbytes, stream)
    driver.read(back.ctypes.data, there, back.nbytes, stream)
    driver.synchronize(stream)
    assert np.array_equal(back, here)


def test_a_recording_runs_when_it_is_launched_and_not_before(driver: Driver) -> None:
    stream, there, here = driver.stream(), driver.allocate(4), np.ones(1, np.float32)
    back = np.zeros_like(here)
    driver.begin_capture(stream)
    driver.write(there, here.ctypes.data, 4, stream)
    driver.read(back.ctypes.data, there, 4, stream)
    graph = driver.end_capture(stream)
    assert back[0] == 0
    for value in (1.0, 7.0):
        here[0] = value
        driver.decision(graph, stream)()
        assert back[0] == value


def test_refusals_name_call_and_reason(driver: Driver) -> None:
    stream, here = driver.stream(), np.ones(1, np.float32)
    with pytest.raises(CudaError, match=r"cuMemcpyHtoDAsync_v2 failed: an illegal memory access .* \(CUDA error 700\)"):
        driver.write(here.ctypes.data, here.ctypes.data, 4, stream)
    driver.begin_capture(stream)
    with pytest.raises(CudaError, match="cuStreamSynchronize failed: operation not permitted when stream is capturing"):
        driver.synchronize(stream)
    graph = driver.end_capture(stream)
    driver.begin_capture(stream)
    with pytest.raises(CudaError, match="cuGraphLaunch failed: operation not permitted"):
        driver.decision(graph, stream)()
    driver.end_capture(stream)


def test_without_a_context_only_the_description(driver: Driver, standin_cuda: Path, monkeypatch) -> None:
    live = ctypes.c_int.in_dll(ctypes.CDLL(str(standin_cuda)), "standin_live")
    before = live.value
    assert Driver(context=False).describe() == {"gpu": "Stand-in", "compute_capability": "8.7", "driver_cuda": "12.6"}
    assert live.value == before
    monkeypatch.setenv("STANDIN_CAPABILITY", "12.1")
    assert Driver(context=False).compute_capability == "12.1"


def test_an_absent_old_or_broken_driver_is_named(standin_cuda: Path, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(cuda_driver, "LIBRARIES", ("libcuda.that.nobody.has",))
    with pytest.raises(NoDevice, match="no NVIDIA driver"):
        Driver()
    monkeypatch.setattr(cuda_driver, "LIBRARIES", (str(standin_cuda),))
    with pytest.raises(NoDevice, match="number 1 was asked for"):
        Driver(1)
    monkeypatch.setenv("STANDIN_BROKEN", "1")
    with pytest.raises(NoDevice, match="cuInit failed"):
        Driver()
    monkeypatch.setattr(cuda_driver, "_SIGNATURES", cuda_driver._SIGNATURES | {"cuFromTheFuture": ()})
    with pytest.raises(NoDevice, match=r"too old: .* lacks cuFromTheFuture"):
        Driver()
