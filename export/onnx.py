"""Policy -> one self-contained ONNX graph: normalizer, network and action transform inside.

The convention every back-end relies on: opset 17, batch 1, static shapes, no side file. Inputs ``obs``
[1, n] and ``state_in_NAME`` [1, size]; outputs ``action`` ([1, m] float32, or [1, 1] int64 if discrete)
and ``state_out_NAME``. Weights of 2, 3 and 4 bits are int8 tensors that use a part of their range (this opset has no
int4), and a hashed layer's weight is written out in full: neither file is smaller for it.
Recurrent cells are written out as Gemm, Sigmoid, Tanh and friends, because that
one form is understood by every back-end. Biases stay float32 (TensorRT refuses int32 bias dequantizers).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import require
from ..policy.bundle import Policy
from ..policy.cells import GRU, LSTM, CfC
from ..policy.conv import Conv2d
from ..policy.grid import Quantize
from ..policy.hashed import places
from ..policy.layers import Activation, Affine, Clip, HashedLinear, History, Layer, LayerNorm, Linear, TiedLinear
from ..policy.reference import GELU_SLOPE
from .onnx_cells import cfc, gru, history, lstm
from .onnx_graph import Graph
from .onnx_image import Images

if TYPE_CHECKING:
    import onnx

OPSET = 17
IR_VERSION = 8
_SIMPLE = {
    "tanh": "Tanh",
    "relu": "Relu",
    "sigmoid": "Sigmoid",
    "softsign": "Softsign",
    "softplus": "Softplus",
    "hardswish": "HardSwish",
    "selu": "Selu",
}


def to_onnx(policy: Policy) -> onnx.ModelProto:
    """The whole policy as a checked ONNX model; equal policies give equal bytes."""
    onnx = require("onnx", "export")
    model = _Model(policy, onnx).model()
    onnx.checker.check_model(model, full_check=True)
    return model


class _Model(Graph):
    """Walks the policy from obs to action."""

    def __init__(self, policy: Policy, onnx_module: Any) -> None:
        super().__init__(policy, onnx_module)
        self.images = Images(self)

    def model(self) -> onnx.ModelProto:
        contract, helper = self.policy.contract, self.helper
        tensor_type = self.onnx.TensorProto
        x = self._normalize("obs")
        for index, layer in enumerate(self.policy.layers):
            x = self._layer(f"{index}_{layer.kind}", layer, self.images.ready(layer, x))
        self._action(self.images.flat(x))
        discrete = contract.action.kind == "discrete"
        action = helper.make_tensor_value_info(
            "action", tensor_type.INT64 if discrete else tensor_type.FLOAT, [1, 1 if discrete else contract.action.size]
        )
        inputs = [helper.make_tensor_value_info("obs", tensor_type.FLOAT, [1, contract.observation.size])]
        outputs = [action]
        for state in contract.state:
            inputs.append(helper.make_tensor_value_info(f"state_in_{state.name}", tensor_type.FLOAT, [1, state.size]))
            outputs.append(helper.make_tensor_value_info(f"state_out_{state.name}", tensor_type.FLOAT, [1, state.size]))
        graph = helper.make_graph(self.nodes, "policy", inputs, outputs, self.initializers)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="pilotfish")
        model.ir_version = IR_VERSION
        helper.set_model_props(model, {"pilotfish.policy": self.policy.name, "pilotfish.digest": self.policy.digest})
        return model

    def _normalize(self, x: str) -> str:
        normalizer = self.policy.contract.observation.normalizer
        if normalizer is None:
            return x
        variance = np.asarray(normalizer.variance, np.float64)
        epsilon = normalizer.epsilon
        spread = np.sqrt(variance + epsilon) if normalizer.epsilon_inside_sqrt else np.sqrt(variance) + epsilon
        numbers = np.asarray(normalizer.mean, np.float64).astype(np.float32)[None], (1.0 / spread).astype(np.float32)[None]
        if all((array == array[:, :1]).all() for array in numbers):  # as of images: one number is enough
            numbers = numbers[0][:, :1], numbers[1][:, :1]
        mean, inverse = self.constant("normalizer.mean", numbers[0]), self.constant("normalizer.inverse", numbers[1])
        x = self.node("Mul", [self.node("Sub", [x, mean], "centered"), inverse], "standardized")
        return x if normalizer.clip is None else self.clip(x, -normalizer.clip, normalizer.clip, "normalized")

    def _action(self, x: str) -> None:
        action = self.policy.contract.action
        if action.kind == "discrete":
            self.node("ArgMax", [x], "action", axis=1, keepdims=1)
            return
        if action.squash == "tanh":
            x = self.node("Tanh", [x], "squashed")
        if action.scale:
            x = self.node("Mul", [x, self.constant("action.scale", np.asarray(action.scale, np.float32)[None])], "scaled")
        if action.offset:
            x = self.node("Add", [x, self.constant("action.offset", np.asarray(action.offset, np.float32)[None])], "shifted")
        if action.low:
            # Max and Min, since ONNX Clip takes one bound for all entries and actuators differ.
            low = self.constant("action.low", np.asarray(action.low, np.float32)[None])
            high = self.constant("action.high", np.asarray(action.high, np.float32)[None])
            x = self.node("Min", [self.node("Max", [x, low], "bounded_below"), high], "bounded")
        self.node("Identity", [x], "action")

    def _layer(self, name: str, layer: Layer, x: str) -> str:
        match layer:
            case Linear():
                return self.gemm(layer, x, "weight", "bias" if layer.bias else None, name)
            case HashedLinear():
                # No operator regenerates the map, so the graph holds the weight itself; the C back-end finds the store again.
                entry, sign = places(layer.out_size, layer.in_size, layer.size, layer.chunk, layer.seed)
                weight = self.constant(f"{layer.name}.weight", self.policy.weights[f"{layer.name}.store"][entry] * sign)
                return self._linear(name, layer, x, weight)
            case TiedLinear():
                return self._linear(
                    name, layer, x, self.constant(f"{layer.like}.weight", self.policy.weights[f"{layer.like}.weight"])
                )
            case Conv2d():
                return self.images.conv(name, layer, x)
            case Activation():
                return self._activation(name, layer, x)
            case LayerNorm():
                scale = self.constant(f"{layer.name}.weight", self.policy.weights[f"{layer.name}.weight"])
                bias = self.constant(f"{layer.name}.bias", self.policy.weights[f"{layer.name}.bias"])
                return self.node("LayerNormalization", [x, scale, bias], name, axis=-1, epsilon=layer.epsilon)
            case Affine():
                scale = self.constant(f"{layer.name}.scale", self.policy.weights[f"{layer.name}.scale"][None])
                offset = self.constant(f"{layer.name}.offset", self.policy.weights[f"{layer.name}.offset"][None])
                return self.node("Add", [self.node("Mul", [x, scale], f"{name}_scaled"), offset], name)
            case Clip():
                return self.clip(x, layer.low, layer.high, name)
            case Quantize():
                return self.on_steps(name, layer, x)
            case GRU():
                return gru(self, name, layer, x)
            case LSTM():
                return lstm(self, name, layer, x)
            case CfC():
                return cfc(self, name, layer, x)
            case History():
                return history(self, name, layer, x)
        raise ValueError(f"no layer {layer!r}")

    def _linear(self, name: str, layer: HashedLinear | TiedLinear, x: str, weight: str) -> str:
        bias = [self.constant(f"{layer.name}.bias", self.policy.weights[f"{layer.name}.bias"])] if layer.bias else []
        return self.node("Gemm", [x, weight, *bias], name, transB=1)

    def _activation(self, name: str, layer: Activation, x: str) -> str:
        if layer.function in _SIMPLE:
            return self.node(_SIMPLE[layer.function], [x], name)
        if layer.function == "silu":
            return self.node("Mul", [x, self.node("Sigmoid", [x], f"{name}_gate")], name)
        if layer.function == "gelu":
            cube = self.node("Mul", [self.node("Mul", [x, x], f"{name}_square"), x], f"{name}_cube")
            weighted = self.node("Mul", [cube, self.number(f"{name}_weight", 0.044715 * GELU_SLOPE)], f"{name}_weighted")
            line = self.node("Mul", [x, self.number(f"{name}_slope", GELU_SLOPE)], f"{name}_line")
            gate = self.node("Sigmoid", [self.node("Add", [line, weighted], f"{name}_sum")], f"{name}_gate")
            return self.node("Mul", [x, gate], name)
        if layer.function == "mish":  # the operator Mish is younger than our opset
            return self.node("Mul", [x, self.node("Tanh", [self.node("Softplus", [x], f"{name}_plus")], f"{name}_gate")], name)
        return self.node({"elu": "Elu", "leaky_relu": "LeakyRelu"}[layer.function], [x], name, alpha=layer.alpha)
