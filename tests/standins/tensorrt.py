"""Stands in for TensorRT 10 where there is no GPU: the calls that Pilotfish makes, with ONNX Runtime behind them.

A plan is a mark and the ONNX graph itself. Execution goes through the stream of the stand-in for libcuda, so that what is
captured is recorded and executed when the graph is launched, at the addresses that were set when it was recorded.
"""

import ctypes
import enum
import os
import types

import numpy as np
import onnx
import onnxruntime

__version__ = "10.3.0"
MARK = 1 << 56
PLAN = b"stand-in plan\n"
DataType = enum.Enum("DataType", "FLOAT INT64")
TensorIOMode = enum.Enum("TensorIOMode", "INPUT OUTPUT")
LayerInformationFormat = enum.Enum("LayerInformationFormat", "ONELINE JSON")
MemoryPoolType = enum.Enum("MemoryPoolType", "WORKSPACE")
ProfilingVerbosity = enum.Enum("ProfilingVerbosity", "DETAILED")
BuilderFlag = enum.Enum("BuilderFlag", "TF32")
NetworkDefinitionCreationFlag = enum.IntEnum("NetworkDefinitionCreationFlag", "STRONGLY_TYPED", start=1)
_KINDS = {onnx.TensorProto.FLOAT: DataType.FLOAT, onnx.TensorProto.INT64: DataType.INT64}
_CALLBACK = ctypes.CFUNCTYPE(None, ctypes.c_void_p)


def nptype(dtype):
    return {DataType.FLOAT: np.float32, DataType.INT64: np.int64}[dtype]


class ILogger:
    pass


class _Tensor:
    def __init__(self, value, mode):
        self.name, self.mode = value.name, mode
        self.dtype = _KINDS[value.type.tensor_type.elem_type]
        self.shape = tuple(d.dim_value for d in value.type.tensor_type.shape.dim)


def _tensors(model):
    ends = [(v, TensorIOMode.INPUT) for v in model.graph.input] + [(v, TensorIOMode.OUTPUT) for v in model.graph.output]
    return [_Tensor(*end) for end in ends]


class Builder:
    def __init__(self, logger):
        self.logger = logger

    def create_network(self, flags):
        assert flags == 1 << NetworkDefinitionCreationFlag.STRONGLY_TYPED
        return types.SimpleNamespace(model=None)

    def create_builder_config(self):
        return _Config()

    def build_serialized_network(self, network, config):
        self.logger.log("Severity.INFO", f"building with {config.settings()}")
        layers = "".join(f"Name: {node.name}, LayerType: {node.op_type}\n" for node in network.model.graph.node)
        self.logger.log("Severity.VERBOSE", f"Layers:\n{layers}")
        return PLAN + network.model.SerializeToString()


class OnnxParser:
    num_errors = 1

    def __init__(self, network, logger):
        self.network = network

    def parse(self, data):
        model = onnx.load_model_from_string(data)
        if any(node.op_type in ("GRU", "LSTM") for node in model.graph.node):
            return False
        self.network.model = model
        ends = _tensors(model)
        inputs = [t for t in ends if t.mode is TensorIOMode.INPUT]
        outputs = [t for t in ends if t.mode is TensorIOMode.OUTPUT]
        self.network.num_inputs, self.network.num_outputs = len(inputs), len(outputs)
        self.network.get_input, self.network.get_output = inputs.__getitem__, outputs.__getitem__
        return True

    def get_error(self, index):
        return types.SimpleNamespace(desc=lambda: "no recurrent layers here", node_name=lambda: "cell")


class _Cache:
    def __init__(self, data):
        self.data = data

    def serialize(self):
        return self.data + b"measured\n"


class _Config:
    def __init__(self):
        self.tf32 = True

    def set_memory_pool_limit(self, pool, size):
        self.workspace = size

    def clear_flag(self, flag):
        self.tf32 = False

    def create_timing_cache(self, data):
        return _Cache(data)

    def set_timing_cache(self, cache, ignore_mismatch):
        self.cache = cache

    def get_timing_cache(self):
        return self.cache

    def settings(self):
        return {name: value for name, value in vars(self).items() if name != "cache"}


class Runtime:
    engine = None

    def __init__(self, logger):
        self.logger = logger
        if "STANDIN_OLD_DRIVER" in os.environ:
            logger.log("Severity.ERROR", "createInferRuntime: CUDA initialization failure with error: 35")

    def deserialize_cuda_engine(self, plan):
        if "STANDIN_OLD_DRIVER" in os.environ:
            os.abort()  # as TensorRT 11.4 does
        if not plan.startswith(PLAN):
            self.logger.log("Severity.ERROR", "magic tag does not match")
            return None
        return (self.engine or _Engine)(plan[len(PLAN) :])


class _Engine:
    device_memory_size = 512

    def __init__(self, data):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.disable_quant_qdq", "1")
        self.session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
        self.tensors = {t.name: t for t in _tensors(onnx.load_model_from_string(data))}
        self.num_io_tensors = len(self.tensors)

    def get_tensor_name(self, index):
        return list(self.tensors)[index]

    def get_tensor_mode(self, name):
        return self.tensors[name].mode

    def get_tensor_shape(self, name):
        return self.tensors[name].shape

    def get_tensor_dtype(self, name):
        return self.tensors[name].dtype

    def create_engine_inspector(self):
        return types.SimpleNamespace(get_engine_information=lambda form: "Layers:\nName: all of it")

    def create_execution_context(self):
        return _Context(self)


class _Context:
    def __init__(self, engine):
        self.engine, self.addresses, self.calls = engine, {}, []
        self.enqueue = ctypes.CDLL(os.environ["STANDIN_CUDA"]).standin_enqueue
        self.enqueue.argtypes = [ctypes.c_void_p, _CALLBACK, ctypes.c_void_p]

    def set_tensor_address(self, name, address):
        assert address & MARK, f"{name} is bound to an address of the host"
        self.addresses[name] = address & ~MARK
        return True

    def execute_async_v3(self, stream):
        if set(self.addresses) != set(self.engine.tensors):
            return False
        views = {name: self._view(name) for name in self.addresses}

        def run(_):
            inputs = {n: v for n, v in views.items() if self.engine.tensors[n].mode is TensorIOMode.INPUT}
            outputs = [n for n in views if n not in inputs]
            for name, value in zip(outputs, self.engine.session.run(outputs, inputs), strict=True):
                views[name][:] = value

        call = _CALLBACK(run)
        self.calls = [*self.calls[-50:], call]  # what a graph recorded must outlive it
        return "STANDIN_REFUSES" not in os.environ and self.enqueue(stream, call, None) == 0

    def _view(self, name):
        tensor = self.engine.tensors[name]
        dtype = np.dtype(nptype(tensor.dtype))
        size = dtype.itemsize * int(np.prod(tensor.shape))
        return np.frombuffer((ctypes.c_char * size).from_address(self.addresses[name]), dtype).reshape(tensor.shape)
