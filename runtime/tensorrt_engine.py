"""A TensorRT engine that acts: buffers allocated once, one CUDA graph per decision, the state never leaves the device.

Works on `tensorrt` 10.x and 11.x and on `tensorrt_rtx`, whose Python interfaces agree in what is used here.
This file is copied into kits that run where only Python 3.8, numpy and TensorRT are: it imports nothing of Pilotfish.
"""

from __future__ import annotations

import ctypes
import importlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

MODULES = {"tensorrt": ("tensorrt",), "tensorrt_rtx": ("tensorrt_rtx", "tensorrt_rtx_bindings")}
"""Flavour -> the names under which it may be installed."""
REPEAT = 10
"""Decisions between two events: one alone is shorter than what lies between two submissions."""


class EngineError(RuntimeError):
    """TensorRT refused the engine; the message holds its own words."""


class Tensor(NamedTuple):
    """One input or output of the engine, float32 or int64, shape [1, size]."""

    name: str
    size: int
    dtype: str


class Io(NamedTuple):
    """What goes in and out, by the names of the ONNX graph."""

    observation: Tensor
    action: Tensor
    states: Sequence[Tensor]
    """Recurrent tensors by their bare names: state_in_NAME and state_out_NAME in the engine."""
    rows: int = 1
    """Decisions at once, each with its own state: the first axis of every input and output."""

    def tensors(self) -> dict:
        """Name in the engine -> (is an input, size, dtype)."""
        both = {self.observation.name: (True, self.observation.size, self.observation.dtype)}
        both[self.action.name] = (False, self.action.size, self.action.dtype)
        for state in self.states:
            both["state_in_" + state.name] = (True, state.size, state.dtype)
            both["state_out_" + state.name] = (False, state.size, state.dtype)
        return both


_loggers: dict = {}


def load_flavour(flavours: Sequence[str]) -> Any:
    """(flavour, module) of the first that is installed, or None. A package that is there and broken raises its own error."""
    for flavour in flavours:
        for name in MODULES[flavour]:
            try:
                return flavour, importlib.import_module(name)
            except ModuleNotFoundError as error:
                if error.name is None or error.name.partition(".")[0] != name:
                    raise
    return None


def logger_of(trt: Any) -> Any:
    """The one logger that TensorRT accepts in a process; ``logger.lines`` collects [severity, text]."""
    if trt.__name__ not in _loggers:

        class Collecting(trt.ILogger):
            def __init__(self) -> None:
                trt.ILogger.__init__(self)
                self.lines: list = []

            def log(self, severity: Any, message: str) -> None:
                self.lines.append((str(severity).rpartition(".")[2], message))

        _loggers[trt.__name__] = Collecting()
    return _loggers[trt.__name__]


def errors(lines: Sequence) -> list:
    """The texts of the errors among log lines."""
    return [text for severity, text in lines if severity in ("ERROR", "INTERNAL_ERROR")]


def complaints(lines: Sequence) -> str:
    """The errors among log lines, or the last line where there are none."""
    return "; ".join(errors(lines)) or (lines[-1][1] if lines else "no reason given")


class Engine:
    """One policy on one device, ``io.rows`` decisions at a time.

    ``driver``: :class:`cuda_driver.Driver`; ``plan``: the engine file's content.

    ``mapped``: the device reads observations from host memory and writes actions to it, instead of copying them; right
    where both share one memory. ``cache``: kernels that an earlier run compiled (TensorRT-RTX), see :meth:`cache_bytes`.
    """

    def __init__(
        self, trt: Any, driver: Any, plan: bytes, io: Io, *, graph: bool = True, mapped: bool = False, cache: bytes = b""
    ) -> None:
        self._driver, self._io, self._mapped = driver, io, mapped
        self._freeing: list = []
        self._graphs: list = []
        self._decide: list = []
        self.graph_note = "no CUDA graph, as asked for"
        try:
            self._open(trt, plan, cache)
            self._allocate()
            if graph:
                self._capture()
        except BaseException:
            self.close()
            raise

    def _open(self, trt: Any, plan: bytes, cache: bytes) -> None:
        logger = logger_of(trt)
        first = len(logger.lines)
        self._runtime = trt.Runtime(logger)
        if errors(logger.lines[first:]):
            # With a driver too old for it, TensorRT (11.4, tried) returns an empty object that crashes when it is used.
            raise EngineError(complaints(logger.lines[first:]))
        self._engine = self._runtime.deserialize_cuda_engine(plan)
        if self._engine is None:
            raise EngineError(complaints(logger.lines[first:]))
        self.inspection = inspect(trt, self._engine)
        found = {name: (bool(t["input"]), tuple(t["shape"]), str(t["dtype"])) for name, t in self.inspection["tensors"].items()}
        wanted = {name: (into, (self._io.rows, size), dtype) for name, (into, size, dtype) in self._io.tensors().items()}
        if found != wanted:
            raise EngineError(f"the engine has inputs and outputs {found}, the policy {wanted}")
        self._cache = None
        if hasattr(self._engine, "create_runtime_config"):
            config = self._engine.create_runtime_config()
            if hasattr(config, "create_runtime_cache"):
                self._cache = config.create_runtime_cache()
                if cache:
                    self._cache.deserialize(cache)  # False where versions differ: then kernels are compiled again
                config.set_runtime_cache(self._cache)
            self._context = self._engine.create_execution_context(config)
        else:
            self._context = self._engine.create_execution_context()
        if self._context is None:
            raise EngineError(complaints(logger.lines[first:]))

    def _allocate(self) -> None:
        driver, io = self._driver, self._io
        self._stream = driver.stream()
        self._freeing.append((driver.destroy_stream, self._stream))
        self._obs, self._obs_host, self._obs_device = self._pinned(io.observation)
        self._action, self._action_host, self._action_device = self._pinned(io.action)
        # The state ping-pongs between two buffers, so that a decision copies nothing.
        self._states = []
        for state in io.states:
            pair = [driver.allocate(4 * state.size * io.rows) for _ in range(2)]
            self._freeing += [(driver.free, address) for address in pair]
            self._states.append((state, pair))
        self._flat = np.zeros(io.rows * sum(state.size for state in io.states), np.float32)
        self._now = 0
        self._context.set_tensor_address(io.observation.name, self._obs_device)
        self._context.set_tensor_address(io.action.name, self._action_device)
        self.reset()

    def _pinned(self, tensor: Tensor) -> Any:
        """(array of page-locked memory, its address, the address that the engine uses)"""
        size = np.dtype(tensor.dtype).itemsize * tensor.size * self._io.rows
        host = self._driver.allocate_host(size)
        self._freeing.append((self._driver.free_host, host))
        memory: Any = (ctypes.c_char * size).from_address(host)
        array = np.frombuffer(memory, tensor.dtype)
        array[:] = 0
        if self._mapped:
            return array, host, self._driver.device_address(host)
        device = self._driver.allocate(size)
        self._freeing.append((self._driver.free, device))
        return array, host, device

    def _capture(self) -> None:
        """Record the two decisions (from state 0 to 1, and back), with their transfers; without it, say why and go on."""
        self._run_once()  # TensorRT sets itself up in the first call, which must not be recorded
        try:
            for now in (0, 1):
                self._driver.begin_capture(self._stream)
                recorded = False
                try:
                    self._enqueue(now)
                    recorded = True
                finally:
                    graph = self._end_capture(recorded)
                self._graphs.append(graph)
            self._decide = [self._driver.decision(graph, self._stream) for graph in self._graphs]
            self.graph_note = "one CUDA graph per decision, transfers included"
        except RuntimeError as error:
            for graph in self._graphs:
                self._driver.destroy_graph(graph)
            self._graphs = []
            self.graph_note = f"no CUDA graph: {error}"
        self.reset()

    def _end_capture(self, recorded: bool) -> int:
        try:
            return int(self._driver.end_capture(self._stream))
        except RuntimeError:
            if recorded:
                raise
            return 0  # the recording failed, and its own error is on the way

    def _point(self, now: int) -> None:
        for state, pair in self._states:
            self._context.set_tensor_address("state_in_" + state.name, pair[now])
            self._context.set_tensor_address("state_out_" + state.name, pair[1 - now])

    def _execute(self) -> None:
        if not self._context.execute_async_v3(self._stream):
            raise EngineError("TensorRT did not accept the decision")

    def _enqueue(self, now: int) -> None:
        """Put one decision into the stream: observation in, engine, action out."""
        if not self._mapped:
            self._driver.write(self._obs_device, self._obs_host, self._obs.nbytes, self._stream)
        self._point(now)
        self._execute()
        if not self._mapped:
            self._driver.read(self._action_host, self._action_device, self._action.nbytes, self._stream)

    def _run_once(self) -> None:
        self._enqueue(self._now)
        self._driver.synchronize(self._stream)

    def act(self, obs: np.ndarray) -> np.ndarray:
        """obs float32 [rows * n] -> a new array float32 [rows * m] or int64 [rows]; advances the state."""
        self._obs[:] = obs
        if self._decide:
            self._decide[self._now]()
        else:
            self._run_once()
        self._now ^= 1
        return self._action.copy()

    def reset(self) -> None:
        """Start an episode: the state is zero."""
        self._flat[:] = 0
        self._write_state()

    @property
    def state(self) -> np.ndarray:
        """float32 [rows * S], all recurrent tensors in order, each row after row; a copy."""
        at = 0
        for state, pair in self._states:
            part = self._flat[at : at + state.size * self._io.rows]
            self._driver.read(part.ctypes.data, pair[self._now], part.nbytes, self._stream)
            at += len(part)
        self._driver.synchronize(self._stream)
        return self._flat.copy()

    @state.setter
    def state(self, flat: np.ndarray) -> None:
        self._flat[:] = flat
        self._write_state()

    def _write_state(self) -> None:
        # In the engine's own stream: a plain copy returns before it has arrived, and our stream would not wait for it.
        at = 0
        for state, pair in self._states:
            part = self._flat[at : at + state.size * self._io.rows]
            self._driver.write(pair[self._now], part.ctypes.data, part.nbytes, self._stream)
            at += len(part)
        self._driver.synchronize(self._stream)

    def gpu_us(self, samples: int, progress: Callable[[int, int], None] | None = None) -> np.ndarray:
        """Microseconds that one decision keeps the device busy, float64 [samples], without transfers, by events.

        Each sample is the mean of REPEAT decisions put into the stream at once. The state afterwards is zero.
        """
        begin, end = self._driver.event(), self._driver.event()
        self._point(0)
        launch = self._execute
        graph = 0
        try:
            if self._graphs:
                self._driver.begin_capture(self._stream)
                try:
                    for _ in range(REPEAT):
                        self._execute()
                finally:
                    graph = self._driver.end_capture(self._stream)
            taken = []
            for done in range(samples):
                self._driver.record(begin, self._stream)
                if graph:
                    self._driver.launch(graph, self._stream)
                else:
                    for _ in range(REPEAT):
                        launch()
                self._driver.record(end, self._stream)
                taken.append(self._driver.elapsed_us(begin, end) / REPEAT)
                if progress and (done % 100 == 99 or done + 1 == samples):
                    progress(done + 1, samples)
        finally:
            if graph:
                self._driver.destroy_graph(graph)
            self._driver.destroy_event(begin)
            self._driver.destroy_event(end)
            self._point(self._now)
            self.reset()
        return np.asarray(taken, np.float64)

    def cache_bytes(self) -> bytes:
        """What TensorRT-RTX compiled on this device, for the next start; empty where the flavour compiles nothing."""
        return bytes(self._cache.serialize()) if self._cache is not None else b""

    def close(self) -> None:
        """Free everything; safe to call twice."""
        graphs, self._graphs, self._decide = self._graphs, [], []
        for graph in graphs:
            self._driver.destroy_graph(graph)
        self._context = self._cache = self._engine = self._runtime = None
        freeing, self._freeing = self._freeing, []
        self._obs = self._action = np.empty(0, np.float32)
        for free, handle in reversed(freeing):
            free(handle)


def inspect(trt: Any, engine: Any) -> dict:
    """What TensorRT itself says of a loaded engine: inputs and outputs, layers, memory in bytes."""
    tensors = {}
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        tensors[name] = {
            "input": engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT,
            "shape": [int(size) for size in engine.get_tensor_shape(name)],
            "dtype": np.dtype(trt.nptype(engine.get_tensor_dtype(name))).name,
        }
    memory = engine.device_memory_size_v2 if hasattr(engine, "device_memory_size_v2") else engine.device_memory_size
    inspector = engine.create_engine_inspector()
    layers = inspector.get_engine_information(trt.LayerInformationFormat.ONELINE)
    return {"tensors": tensors, "layers": layers.splitlines(), "scratch_bytes": int(memory)}
