"""A subject as a .tflite flatbuffer, written through the schema that the ai-edge-litert wheel carries.

No converter: the graphs are the ones a converter would make (fully connected layers with the ReLU fused in, a GRU cell
written out, int8 with one scale per output row), and it takes milliseconds in place of gigabytes.
"""

from __future__ import annotations

from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from .contestant import NotOffered
from .subject import Subject

OPS = schema.BuiltinOperator
KINDS = {np.dtype(np.float32): schema.TensorType.FLOAT32, np.dtype(np.int8): schema.TensorType.INT8} | {
    np.dtype(np.int32): schema.TensorType.INT32
}
VERSIONS = {(OPS.FULLY_CONNECTED, "int8"): 5, (OPS.TANH, "int8"): 2, (OPS.DEQUANTIZE, "int8"): 2}
"""Versions of operators that int8 tensors need; 1 elsewhere."""
TANH_STEP = 1 / 128
"""The format fixes the grid of an int8 tanh's output: this step, zero point 0."""


def float_model(subject: Subject) -> bytes:
    """The float32 graph: inputs obs and one tensor per state, outputs the action and the new state."""
    graph = _Graph()
    x = graph.tensor("obs", (1, subject.sizes[0]), np.float32)
    inputs, outputs = [x], []
    layers = list(subject.layers)
    for index, layer in enumerate(layers):
        if layer["kind"] == "linear":
            after = layers[index + 1] if index + 1 < len(layers) else {}
            relu = after.get("function") == "relu"
            weight, bias = subject.matrix(f"{layer['name']}.weight"), subject.weights[f"{layer['name']}.bias"]
            x = graph.dense(f"dense{index}", x, weight, bias, relu=relu)
        elif layer["kind"] == "activation":
            if layer["function"] == "tanh":
                x = graph.apply(OPS.TANH, [x], f"tanh{index}")
            elif layer["function"] != "relu":
                raise NotOffered(f"no operator set up for {layer['function']}")
        elif layer["kind"] == "gru":
            h = graph.tensor(f"state_{index}", (1, layer["hidden_size"]), np.float32)
            x = _gru(graph, subject, layer, x, h)
            inputs.append(h)
            outputs.append(x)
        else:
            raise NotOffered(f"no operator set up for a layer {layer['kind']}")
    return graph.finish(inputs, [x, *outputs])


def _gru(graph: _Graph, subject: Subject, layer: dict[str, Any], x: int, h: int) -> int:
    name = layer["name"]
    parts = []
    for source, tensor in ((x, "ih"), (h, "hh")):
        weight, bias = subject.matrix(f"{name}.weight_{tensor}"), subject.weights[f"{name}.bias_{tensor}"]
        parts.append(graph.split(graph.dense(f"{name}_{tensor}", source, weight, bias), 3, f"{name}_{tensor}"))
    (xr, xz, xn), (hr, hz, hn) = parts

    def add(a: int, b: int, what: str) -> int:
        return graph.apply(OPS.ADD, [a, b], f"{name}_{what}")

    def mul(a: int, b: int, what: str) -> int:
        return graph.apply(OPS.MUL, [a, b], f"{name}_{what}")

    reset = graph.apply(OPS.LOGISTIC, [add(xr, hr, "r_sum")], f"{name}_r")
    update = graph.apply(OPS.LOGISTIC, [add(xz, hz, "z_sum")], f"{name}_z")
    new = graph.apply(OPS.TANH, [add(xn, mul(reset, hn, "gated"), "n_sum")], f"{name}_n")
    change = graph.apply(OPS.SUB, [h, new], f"{name}_change")
    return add(new, mul(update, change, "step"), "h")


def int8_model(subject: Subject) -> bytes:
    """Float in, float out, int8 in between: quantize, dense and tanh on int8 tensors, dequantize.

    Weights and their scales are the subject's own; ranges of activations are read off the float twin on its observations.
    """
    graph, twin = _Graph(), subject.twin()
    values = twin.observations
    obs = graph.tensor("obs", (1, values.shape[1]), np.float32)
    x = graph.apply(OPS.QUANTIZE, [obs], "obs_int8", np.int8, _grid(values))
    weights = [layer["name"] for layer in subject.layers if layer["kind"] == "linear"]
    for index, name in enumerate(weights):
        values = values @ twin.weights[f"{name}.weight"].T + twin.weights[f"{name}.bias"]
        grid = graph.quantization[x]
        row_scales = subject.weights[f"{name}.weight_scale"]
        bias = np.round(subject.weights[f"{name}.bias"] / (row_scales * np.float32(grid[0]))).astype(np.int32)
        x = graph.dense(name, x, subject.weights[f"{name}.weight"], bias, rows=row_scales, grid=_grid(values))
        if index + 1 < len(weights):
            values = np.tanh(values)
            x = graph.apply(OPS.TANH, [x], f"{name}_tanh", np.int8, (TANH_STEP, 0))
    return graph.finish([obs], [graph.apply(OPS.DEQUANTIZE, [x], "action", np.float32)])


def _grid(values: np.ndarray) -> tuple[float, int]:
    """(step, zero point) of the int8 grid that spans the values and holds 0."""
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    step = (high - low) / 255
    return step, round(-128 - low / step)


class _Graph:
    """Collects tensors, buffers and operators of one subgraph."""

    def __init__(self) -> None:
        self.tensors: list[Any] = []
        self.buffers: list[Any] = [schema.BufferT()]
        self.operators: list[Any] = []
        self.codes: dict[tuple[int, int], int] = {}
        self.quantization: dict[int, tuple[float, int]] = {}

    def tensor(
        self,
        name: str,
        shape: tuple[int, ...],
        dtype: Any,
        grid: tuple[float, int] | None = None,
        value: np.ndarray | None = None,
        rows: np.ndarray | None = None,
    ) -> int:
        """Add a tensor; ``grid`` or ``rows`` (one scale per row) where it is quantized."""
        made = schema.TensorT()
        made.name, made.shape, made.type = name.encode(), list(shape), KINDS[np.dtype(dtype)]
        if value is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(value).tobytes(), np.uint8)
            self.buffers.append(buffer)
            made.buffer = len(self.buffers) - 1
        if grid is not None or rows is not None:
            made.quantization = schema.QuantizationParametersT()
            made.quantization.scale = [grid[0]] if grid is not None else [float(s) for s in rows]  # type: ignore[union-attr]
            made.quantization.zeroPoint = [grid[1]] if grid is not None else [0] * len(made.quantization.scale)
        self.tensors.append(made)
        if grid is not None:
            self.quantization[len(self.tensors) - 1] = grid
        return len(self.tensors) - 1

    def dense(
        self,
        name: str,
        x: int,
        weight: np.ndarray,
        bias: np.ndarray,
        *,
        relu: bool = False,
        rows: np.ndarray | None = None,
        grid: tuple[float, int] | None = None,
    ) -> int:
        """x W^T + b, with ``rows`` and ``grid`` for int8."""
        w = self.tensor(f"{name}_weight", weight.shape, weight.dtype, value=weight, rows=rows)
        bias_rows = None if rows is None else rows * np.float32(self.quantization[x][0])
        b = self.tensor(f"{name}_bias", bias.shape, bias.dtype, value=bias, rows=bias_rows)
        options = schema.FullyConnectedOptionsT()
        if relu:
            options.fusedActivationFunction = schema.ActivationFunctionType.RELU
        y = self.tensor(name, (1, len(weight)), np.float32 if rows is None else np.int8, grid)
        self._operator(OPS.FULLY_CONNECTED, [x, w, b], [y], "FullyConnected", options)
        return y

    def apply(self, op: int, inputs: list[int], name: str, dtype: Any = np.float32, grid: tuple[float, int] | None = None) -> int:
        """An elementwise operator."""
        y = self.tensor(name, tuple(self.tensors[inputs[0]].shape), dtype, grid)
        options = {OPS.ADD: "Add", OPS.SUB: "Sub", OPS.MUL: "Mul"}.get(op, "")
        self._operator(op, inputs, [y], options, getattr(schema, f"{options}OptionsT")() if options else None)
        return y

    def split(self, x: int, parts: int, name: str) -> list[int]:
        """Equal parts of the last axis."""
        axis = self.tensor(f"{name}_axis", (), np.int32, value=np.asarray(1, np.int32))
        size = self.tensors[x].shape[1] // parts
        outputs = [self.tensor(f"{name}_{index}", (1, size), np.float32) for index in range(parts)]
        options = schema.SplitOptionsT()
        options.numSplits = parts
        self._operator(OPS.SPLIT, [axis, x], outputs, "Split", options)
        return outputs

    def finish(self, inputs: list[int], outputs: list[int]) -> bytes:
        """The flatbuffer."""
        graph, model = schema.SubGraphT(), schema.ModelT()
        graph.tensors, graph.operators, graph.inputs, graph.outputs = self.tensors, self.operators, inputs, outputs
        model.version, model.subgraphs, model.buffers, model.operatorCodes = 3, [graph], self.buffers, []
        for code, version in self.codes:
            made = schema.OperatorCodeT()
            made.builtinCode, made.deprecatedBuiltinCode, made.version = code, min(code, 127), version
            model.operatorCodes.append(made)
        builder = flatbuffers.Builder(1 << 16)
        builder.Finish(model.Pack(builder), b"TFL3")
        return bytes(builder.Output())

    def _operator(self, op: int, inputs: list[int], outputs: list[int], options: str, value: Any) -> None:
        first = self.tensors[inputs[0]].type
        key = op, VERSIONS.get((op, "int8"), 1) if first == schema.TensorType.INT8 else 1
        made = schema.OperatorT()
        made.opcodeIndex = self.codes.setdefault(key, len(self.codes))
        made.inputs, made.outputs = inputs, outputs
        if options:
            made.builtinOptionsType, made.builtinOptions = getattr(schema.BuiltinOptions, f"{options}Options"), value
        self.operators.append(made)
