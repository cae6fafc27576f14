"""An ONNX graph in the making: nodes, constants, and the weights of a policy as float32 values of the graph."""

from __future__ import annotations

from typing import Any

import numpy as np

from ..policy.bundle import Policy
from ..policy.cells import GRU, LSTM
from ..policy.grid import Quantize
from ..policy.layers import Linear


class Graph:
    """Collects nodes and initializers of one policy; every method returns the name of the value that it adds."""

    def __init__(self, policy: Policy, onnx_module: Any) -> None:
        self.onnx, self.helper, self.policy = onnx_module, onnx_module.helper, policy
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []
        self._known: set[str] = set()

    def constant(self, name: str, value: np.ndarray) -> str:
        """Add an initializer once and return its name."""
        if name not in self._known:
            self._known.add(name)
            self.initializers.append(self.onnx.numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(self, op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Add a one-output node and return the output's name."""
        self.nodes.append(self.helper.make_node(op, inputs, [output], name=f"{op}:{output}", **attributes))
        return output

    def split(self, x: str, parts: int, name: str) -> list[str]:
        """Equal parts of the last axis of [1, parts * size]."""
        outputs = [f"{name}_{index}" for index in range(parts)]
        self.nodes.append(self.helper.make_node("Split", [x], outputs, name=f"Split:{name}", axis=1))
        return outputs

    def weight(self, layer: Linear | GRU | LSTM, tensor: str) -> str:
        """A weight matrix by full tensor name; integers come with their per-row dequantizer, float16 with a Cast."""
        full = f"{layer.name}.{tensor}"
        return self.off_grid(full, self.policy.weights[full], layer.weight_bits)

    def off_grid(self, full: str, value: np.ndarray, bits: int) -> str:
        """The weight ``full`` as float32, whose ``value`` has its outputs along the first axis."""
        if bits == 32:
            return self.constant(full, value)
        if bits == 16:
            return self.node("Cast", [self.constant(full, value)], f"{full}_float", to=self.onnx.TensorProto.FLOAT)
        scale = self.constant(f"{full}_scale", self.policy.weights[f"{full}_scale"])
        zero = self.constant(f"{full}_zero", np.zeros(len(value), np.int8))
        return self.node("DequantizeLinear", [self.constant(full, value), scale, zero], f"{full}_float", axis=0)

    def gemm(self, layer: Linear | GRU | LSTM, x: str, weight: str, bias: str | None, output: str) -> str:
        """output = x W^T + b"""
        inputs = [x, self.weight(layer, weight)]
        if bias is not None:
            full = f"{layer.name}.{bias}"
            inputs.append(self.constant(full, self.policy.weights[full]))
        return self.node("Gemm", inputs, output, transB=1)

    def number(self, name: str, value: float) -> str:
        """A scalar float32 constant."""
        return self.constant(name, np.asarray(value, np.float32))

    def clip(self, x: str, low: float, high: float, output: str) -> str:
        """x between two numbers."""
        bounds = [
            self.constant(f"{output}_{end}", np.asarray(value, np.float32)) for end, value in (("low", low), ("high", high))
        ]
        return self.node("Clip", [x, *bounds], output)

    def on_steps(self, name: str, grid: Quantize, x: str) -> str:
        """x rounded to a grid."""
        scale = self.constant(f"{name}_scale", np.asarray(grid.scale, np.float32))
        if grid.bits == 16:
            # Opset 17 has no 16-bit QuantizeLinear: the same rounding, in float32 operators that every back-end has.
            rounded = self.node("Round", [self.node("Div", [x, scale], f"{name}_steps")], f"{name}_rounded")
            limits = grid.low - grid.zero_point, grid.high - grid.zero_point
            return self.node("Mul", [self.clip(rounded, *limits, f"{name}_int16"), scale], name)
        zero = self.constant(f"{name}_zero", np.asarray(grid.zero_point, np.int8))
        integer = self.node("QuantizeLinear", [x, scale, zero], f"{name}_int8")
        return self.node("DequantizeLinear", [integer, scale, zero], name)
