"""An artifact's ONNX graph through ONNX Runtime: one thread, no spinning, every buffer bound once."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..errors import BadInput, require
from ..sealed import sha256_bytes
from .artifact import Artifact
from .session import action_size, checked_observation, checked_state, state_size

_FLOAT32 = np.dtype(np.float32)


class OnnxRuntimeSession:
    """See :class:`pilotfish.runtime.session.Session`. The state ping-pongs between two buffers, so nothing is copied."""

    def __init__(self, artifact: Artifact) -> None:
        ort = require("onnxruntime", "ort")
        self.contract = contract = artifact.manifest.contract
        graph = artifact.entry.read_bytes()
        if sha256_bytes(graph) != artifact.manifest.files[artifact.manifest.entry]:
            raise BadInput(artifact.entry, expected="the file that was sealed", found="another one since it was loaded")
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
        options.log_severity_level = 3
        # Measured with onnxruntime 1.31 on an x86 without VNNI: the rewriting of quantize/dequantize pairs into integer
        # kernels moves actions by up to 190 int8 steps (their 8-bit products saturate in 16 bits), and turns float32 weights
        # between quantized activations into int8. Without it the graph means what it says; up to width 256 it is as fast.
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        for pool in ("intra_op", "inter_op"):
            options.add_session_config_entry(f"session.{pool}.allow_spinning", "0")
        try:
            self._session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise BadInput(
                artifact.entry, expected="a graph that ONNX Runtime loads", found=str(error).partition("\n")[0]
            ) from error
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


def _closed(*_: Any) -> None:
    raise RuntimeError("this session is closed")
