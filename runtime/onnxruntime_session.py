"""An artifact's ONNX graph through ONNX Runtime: one provider, one thread, no spinning, every buffer bound once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ..errors import BadInput, require
from .artifact import Artifact
from .onnxruntime_provider import open_graph
from .session import action_size, checked_observation, checked_state, state_size

OPTIMIZED = "optimized.onnx"
"""The graph as ONNX Runtime's processor-independent optimizations left it when the artifact was made."""
_FLOAT32 = np.dtype(np.float32)


class OnnxRuntimeSession:
    """See :class:`pilotfish.runtime.session.Session`. The state ping-pongs between two buffers, so nothing is copied."""

    def __init__(self, artifact: Artifact) -> None:
        self.contract = contract = artifact.manifest.contract
        settings = artifact.manifest.target.onnxruntime
        self.provider = settings.provider if settings else "cpu"
        path, optimized = _graph_of(artifact, self.provider)
        self._session = open_graph(artifact.read(path.name), self.provider, path, optimized=optimized)
        discrete = contract.action.kind == "discrete"
        self._check(artifact)
        self._obs = np.zeros((1, contract.observation.size), np.float32)
        self._action = np.zeros((1, action_size(contract)), np.int64 if discrete else np.float32)
        self._states = (np.zeros(state_size(contract), np.float32), np.zeros(state_size(contract), np.float32))
        self._row, self._shape = self._obs[0], (contract.observation.size,)
        self._now = 0
        self._bindings = (self._bind(0), self._bind(1))
        self._run = self._session.run_with_iobinding

    def reset(self) -> None:
        self._states[self._now][:] = 0

    @property
    def state(self) -> np.ndarray:
        return self._states[self._now].copy()

    @state.setter
    def state(self, flat: np.ndarray) -> None:
        self._states[self._now][:] = checked_state(self.contract, flat)

    def act(self, obs: np.ndarray) -> np.ndarray:
        if type(obs) is not np.ndarray or obs.dtype is not _FLOAT32 or obs.shape != self._shape:
            obs = checked_observation(self.contract, obs)
        self._row[:] = obs
        self._run(self._bindings[self._now])
        self._now ^= 1
        return self._action[0].copy()

    def close(self) -> None:
        self._run = _closed
        self._bindings = (None, None)
        self._session = None

    def _bind(self, now: int) -> Any:
        """Inputs and outputs bound to fixed addresses, with the state read from buffer ``now`` and written to the other."""
        binding = self._session.io_binding()
        binding.bind_input("obs", "cpu", 0, np.float32, self._obs.shape, self._obs.ctypes.data)
        binding.bind_output("action", "cpu", 0, self._action.dtype.type, self._action.shape, self._action.ctypes.data)
        start = 0
        for tensor in self.contract.state:
            read, write = (self._states[i][start : start + tensor.size] for i in (now, 1 - now))
            binding.bind_input(f"state_in_{tensor.name}", "cpu", 0, np.float32, (1, tensor.size), read.ctypes.data)
            binding.bind_output(f"state_out_{tensor.name}", "cpu", 0, np.float32, (1, tensor.size), write.ctypes.data)
            start += tensor.size
        return binding

    def _check(self, artifact: Artifact) -> None:
        """Refuse a graph whose inputs and outputs are not the contract's: the buffers are bound by address."""
        contract = self.contract
        kind = "tensor(int64)" if contract.action.kind == "discrete" else "tensor(float)"
        inputs = {"obs": ("tensor(float)", [1, contract.observation.size])}
        outputs = {"action": (kind, [1, action_size(contract)])}
        for tensor in contract.state:
            inputs[f"state_in_{tensor.name}"] = ("tensor(float)", [1, tensor.size])
            outputs[f"state_out_{tensor.name}"] = ("tensor(float)", [1, tensor.size])
        for what, wanted, found in (
            ("inputs", inputs, self._session.get_inputs()),
            ("outputs", outputs, self._session.get_outputs()),
        ):
            actual = {node.name: (node.type, list(node.shape)) for node in found}
            if actual != wanted:
                raise BadInput(artifact.entry, expected=f"{what} {wanted}, as the contract says", found=f"{actual}")


def _graph_of(artifact: Artifact, provider: str) -> tuple[Path, bool]:
    """(file, was it optimized at export): the optimized graph is for the version and provider that made it."""
    optimized = artifact.path / OPTIMIZED
    made_by = artifact.manifest.tools.get("onnxruntime")
    same = provider == "cpu" and made_by is not None and made_by == require("onnxruntime", "ort").__version__
    if same and OPTIMIZED in artifact.manifest.files:
        return optimized, True
    return artifact.entry, False


def _closed(*_: Any) -> None:
    raise RuntimeError("this session is closed")
