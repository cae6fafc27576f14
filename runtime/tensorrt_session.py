"""A TensorRT artifact on the GPU of this machine."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BadInput, MissingTool, Unreachable
from ..sealed import write_atomic
from ..targets import host
from .artifact import Artifact
from .cuda_driver import CudaError, Driver, NoDevice
from .session import action_size, action_type, checked_observation, checked_state
from .tensorrt_engine import Engine, EngineError, Io, Tensor, load_flavour
from .trust import state_folder

_FLOAT32 = np.dtype(np.float32)


class TensorRTSession:
    """See :class:`pilotfish.runtime.session.Session`. Page-locked buffers, one CUDA graph per decision, state on the GPU."""

    def __init__(self, artifact: Artifact) -> None:
        """Refuse a kit, another machine or GPU and a changed file before anything is loaded.

        Raises Unreachable for a kit, MissingTool without a GPU or the TensorRT that built the engine, BadInput otherwise.
        """
        self.contract = contract = artifact.manifest.contract
        settings = artifact.manifest.target.tensorrt
        if not artifact.manifest.native or settings is None:
            raise Unreachable(
                f"{artifact.path} is a kit for another machine: copy the folder to the device and run there: python3 kit.py; "
                "or export it on that machine"
            )
        self._driver = _driver(artifact, settings.compute_capability)
        self._engine: Engine | None = None
        try:
            flavour, trt = _flavour(artifact)
            self._cache = Path(state_folder()) / "tensorrt" / f"{artifact.digest[:32]}.kernels"
            self._kernels = _own_file(self._cache) if flavour == "tensorrt_rtx" else b""
            self._engine = Engine(
                trt,
                self._driver,
                artifact.read(),
                io_of(contract),
                graph=settings.cuda_graph,
                mapped=settings.transfers == "mapped",
                cache=self._kernels,
            )
        except (EngineError, CudaError) as error:
            self.close()
            raise BadInput(artifact.entry, expected="an engine that TensorRT loads", found=str(error)) from error
        except BaseException:
            self.close()
            raise
        self.gpu = self._driver.describe()
        """Name, compute capability and driver of the GPU."""
        self._act: Callable[[np.ndarray], np.ndarray] = self._engine.act
        self._shape = (contract.observation.size,)

    @property
    def how(self) -> str:
        """How a decision reaches the GPU, for the note beside a figure."""
        return self._open().graph_note

    def reset(self) -> None:
        self._open().reset()

    @property
    def state(self) -> np.ndarray:
        return self._open().state

    @state.setter
    def state(self, flat: np.ndarray) -> None:
        self._open().state = checked_state(self.contract, flat)

    def act(self, obs: np.ndarray) -> np.ndarray:
        if type(obs) is not np.ndarray or obs.dtype is not _FLOAT32 or obs.shape != self._shape:
            obs = checked_observation(self.contract, obs)
        return self._act(obs)

    def gpu_us(self, samples: int) -> np.ndarray:
        """See :meth:`pilotfish.runtime.tensorrt_engine.Engine.gpu_us`."""
        return self._open().gpu_us(samples)

    def close(self) -> None:
        engine, self._engine, self._act = self._engine, None, _closed
        if engine is not None:
            compiled = engine.cache_bytes()
            if compiled and compiled != self._kernels:
                with contextlib.suppress(OSError):  # a full disk costs the next start some time, and nothing now
                    write_atomic(self._cache, compiled)
            engine.close()
        self._driver.close()

    def _open(self) -> Engine:
        if self._engine is None:
            _closed()
        return self._engine  # type: ignore[return-value]


def io_of(contract: Any) -> Io:
    """What goes in and out of an engine of this contract."""
    return Io(
        Tensor("obs", contract.observation.size, "float32"),
        Tensor("action", action_size(contract), np.dtype(action_type(contract)).name),
        [Tensor(state.name, state.size, "float32") for state in contract.state],
    )


def _driver(artifact: Artifact, wanted: str) -> Driver:
    """The GPU, if the artifact is for this machine and for it."""
    repair = f"Build it here: pilotfish export {artifact.path / 'source.policy'} -t TARGET"
    if artifact.manifest.machine != host.machine():
        raise BadInput(artifact.path, expected=f"an engine for {host.machine()}", found=artifact.manifest.machine, repair=repair)
    try:
        driver = Driver()
    except NoDevice as error:
        raise MissingTool(f"{artifact.label} runs on an NVIDIA GPU of compute capability {wanted}: {error}") from error
    found, name = driver.compute_capability, driver.name
    if found != wanted:
        driver.close()
        raise BadInput(artifact.path, expected=f"an engine for {name} ({found})", found=f"one for {wanted}", repair=repair)
    return driver


def _flavour(artifact: Artifact) -> tuple[str, Any]:
    """The TensorRT that built the engine: no other version loads it."""
    flavour, _, version = artifact.manifest.tools.get("builder", "").partition(" ")
    if flavour not in ("tensorrt", "tensorrt_rtx"):
        raise BadInput(artifact.path / "artifact.json", expected="the builder among its tools", found=repr(flavour))
    found = load_flavour([flavour])
    if found is None:
        how = 'run: pip install "pilotfish[tensorrt]"' if flavour == "tensorrt_rtx" else "install NVIDIA's tensorrt"
        raise MissingTool(f"{flavour} is not installed; {how}")
    if found[1].__version__ != version:
        raise BadInput(artifact.path, expected=f"{flavour} {version}, which built it", found=found[1].__version__)
    return flavour, found[1]


def _own_file(path: Path) -> bytes:
    """Compiled kernels of an earlier run: machine code, so only from a file that nobody else could write."""
    try:
        for place in (path, path.parent):
            info = place.stat()
            if info.st_uid not in (os.geteuid(), 0) or info.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                return b""
        return path.read_bytes()
    except OSError:
        return b""


def _closed(*_: Any) -> Any:
    raise RuntimeError("this session is closed")
