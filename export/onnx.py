"""Policy -> one self-contained ONNX graph: normalizer, network and action transform inside.

The convention every back-end relies on: opset 17, batch 1, static shapes, no side file. Inputs ``obs``
[1, n] and ``state_in_NAME`` [1, size]; outputs ``action`` ([1, m] float32, or [1, 1] int64 if discrete)
and ``state_out_NAME``. Weights of 2, 3 and 4 bits are int8 tensors that use a part of their range (this opset has no
int4), and a hashed layer's weight is written out in full: neither file is smaller for it.
Recurrent cells are written out as Gemm, Sigmoid, Tanh and friends, because that
one form is understood by every back-end. Biases stay float32 (TensorRT refuses int32 bias dequantizers).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..errors import require
from ..policy.bundle import Policy
from ..policy.conv import Conv2d
from ..policy.hashed import places
from ..policy.layers import (
    CFC_HEADS,
    GRU,
    LSTM,
    Activation,
    Affine,
    CfC,
    Clip,
    HashedLinear,
    History,
    Layer,
    LayerNorm,
    Linear,
    Quantize,
    TiedLinear,
)
from ..policy.reference import GELU_SLOPE
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
    model = _Graph(policy, onnx).model()
    onnx.checker.check_model(model, full_check=True)
    return model


class _Graph:
    """Collects nodes and initializers while walking the policy from obs to action."""

    def __init__(self, policy: Policy, onnx_module) -> None:
        self.onnx, self.helper, self.policy = onnx_module, onnx_module.helper, policy
        self.nodes: list = []
        self.initializers: list = []
        self.state_outputs: list[str] = []
        self.images = Images(self)
        self._known: set[str] = set()

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

    def constant(self, name: str, value: np.ndarray) -> str:
        """Add an initializer once and return its name."""
        if name not in self._known:
            self._known.add(name)
            self.initializers.append(self.onnx.numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def node(self, op: str, inputs: list[str], output: str, **attributes) -> str:
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

    def gate(self, layer: GRU | LSTM, x: str, part: str, rank: int | None, output: str) -> str:
        """All gates of a cell from its input (part "ih") or its state ("hh"); through the factors, where there are such."""
        if part == "hh" and layer.state_grid is not None:
            x = self.on_steps(f"{output}_grid", layer.state_grid, x)
        if rank is None:
            return self.gemm(layer, x, f"weight_{part}", f"bias_{part}", output)
        inner = self.gemm(layer, x, f"weight_{part}_v", None, f"{output}_inner")
        return self.gemm(layer, inner, f"weight_{part}_u", f"bias_{part}", output)

    def number(self, name: str, value: float) -> str:
        """A scalar float32 constant."""
        return self.constant(name, np.asarray(value, np.float32))

    def clip(self, x: str, low: float, high: float, output: str) -> str:
        bounds = [
            self.constant(f"{output}_{end}", np.asarray(value, np.float32)) for end, value in (("low", low), ("high", high))
        ]
        return self.node("Clip", [x, *bounds], output)

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
                return self._gru(name, layer, x)
            case LSTM():
                return self._lstm(name, layer, x)
            case CfC():
                return self._cfc(name, layer, x)
            case History():
                return self._history(name, layer, x)
        raise ValueError(f"no layer {layer!r}")

    def _linear(self, name: str, layer: HashedLinear | TiedLinear, x: str, weight: str) -> str:
        bias = [self.constant(f"{layer.name}.bias", self.policy.weights[f"{layer.name}.bias"])] if layer.bias else []
        return self.node("Gemm", [x, weight, *bias], name, transB=1)

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

    def _state_out(self, state: str, value: str) -> None:
        self.node("Identity", [value], f"state_out_{state}")

    def _gru(self, name: str, layer: GRU, x: str) -> str:
        h = f"state_in_{layer.name}_h"
        from_input = self.split(self.gate(layer, x, "ih", layer.rank_ih, f"{name}_input"), 3, f"{name}_input_gate")
        from_state = self.split(self.gate(layer, h, "hh", layer.rank_hh, f"{name}_state"), 3, f"{name}_state_gate")
        add, mul = lambda a, b, out: self.node("Add", [a, b], out), lambda a, b, out: self.node("Mul", [a, b], out)
        reset = self.node("Sigmoid", [add(from_input[0], from_state[0], f"{name}_r_sum")], f"{name}_r")
        update = self.node("Sigmoid", [add(from_input[1], from_state[1], f"{name}_z_sum")], f"{name}_z")
        gated = mul(reset, from_state[2], f"{name}_n_gated")
        new = self.node("Tanh", [add(from_input[2], gated, f"{name}_n_sum")], f"{name}_n")
        # (1 - z) * n + z * h, written as n + z * (h - n): one multiplication less, same value.
        change = self.node("Sub", [h, new], f"{name}_change")
        out = add(new, mul(update, change, f"{name}_step"), name)
        self._state_out(f"{layer.name}_h", out)
        return out

    def _lstm(self, name: str, layer: LSTM, x: str) -> str:
        h, c = f"state_in_{layer.name}_h", f"state_in_{layer.name}_c"
        from_input = self.gate(layer, x, "ih", layer.rank_ih, f"{name}_input")
        from_state = self.gate(layer, h, "hh", layer.rank_hh, f"{name}_state")
        gates = self.split(self.node("Add", [from_input, from_state], f"{name}_sum"), 4, f"{name}_gate")
        i, f, o = (self.node("Sigmoid", [gates[k]], f"{name}_{letter}") for k, letter in ((0, "i"), (1, "f"), (3, "o")))
        g = self.node("Tanh", [gates[2]], f"{name}_g")
        kept, added = self.node("Mul", [f, c], f"{name}_kept"), self.node("Mul", [i, g], f"{name}_added")
        cell = self.node("Add", [kept, added], f"{name}_cell")
        out = self.node("Mul", [o, self.node("Tanh", [cell], f"{name}_cell_tanh")], name)
        self._state_out(f"{layer.name}_h", out)
        self._state_out(f"{layer.name}_c", cell)
        return out

    def _history(self, name: str, layer: History, x: str) -> str:
        bounds = [
            self.constant(f"{name}_{word}", np.array([value], np.int64))
            for word, value in (("from", layer.size), ("to", layer.size * layer.length), ("axis", 1))
        ]
        kept = self.node("Slice", [f"state_in_{layer.name}_past", *bounds], f"{name}_kept")
        stacked = self.node("Concat", [kept, x], name, axis=1)
        self._state_out(f"{layer.name}_past", stacked)
        return stacked

    def _cfc(self, name: str, layer: CfC, x: str) -> str:
        """The two time heads are linear in z and t is fixed, so they are one: (t A + B) z + (t a + b). One Gemm for all heads."""
        weights, z = self.policy.weights, self.node("Concat", [x, f"state_in_{layer.name}_h"], f"{name}_input", axis=1)
        for k in range(len(layer.backbone)):
            part = f"{layer.name}.backbone{k}"
            inputs = [z, self.constant(f"{part}_weight", weights[f"{part}_weight"])]
            line = self.node(
                "Gemm", [*inputs, self.constant(f"{part}_bias", weights[f"{part}_bias"])], f"{name}_line{k}", transB=1
            )
            inner = self.node("Mul", [line, self.number("lecun.inner", 0.666)], f"{name}_inner{k}")
            z = self.node(
                "Mul", [self.node("Tanh", [inner], f"{name}_tanh{k}"), self.number("lecun.outer", 1.7159)], f"{name}_z{k}"
            )
        stacked: list[str] = []
        for tensor in ("weight", "bias"):
            ff1, ff2, rate, offset = (weights[f"{layer.name}.{head}_{tensor}"].astype(np.float64) for head in CFC_HEADS)
            rows = np.concatenate([ff1, ff2, layer.time_step * rate + offset]).astype(np.float32)
            stacked.append(self.constant(f"{layer.name}.heads_{tensor}", rows))
        heads = self.split(self.node("Gemm", [z, *stacked], f"{name}_heads", transB=1), 3, f"{name}_head")
        first, second = (self.node("Tanh", [heads[k]], f"{name}_ff{k + 1}") for k in (0, 1))
        gate = self.node("Sigmoid", [heads[2]], f"{name}_gate")
        change = self.node("Mul", [gate, self.node("Sub", [second, first], f"{name}_change")], f"{name}_step")
        out = self.node("Add", [first, change], name)
        self._state_out(f"{layer.name}_h", out)
        return out
