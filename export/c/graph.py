"""An ONNX policy graph as a small typed IR: vectors, constants and nodes in the order in which they run.

Every value is a flat float32 vector: batch is 1, so a shape such as [1, 64] is 64 numbers. What is constant
is folded while reading; int8 weights stay int8 (:class:`Int8Rows`); a QuantizeLinear with its
DequantizeLinear becomes one FakeQuantize node.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import BadInput, Unsupported, require

if TYPE_CHECKING:
    import onnx

MAX_CONSTANT_VALUES = 1 << 28
"""A constant with more numbers than this is refused before it is computed."""
FOLDABLE = frozenset(
    (
        "Add",
        "Cast",
        "Concat",
        "Constant",
        "DequantizeLinear",
        "Div",
        "Flatten",
        "Identity",
        "Mul",
        "Neg",
        "Pow",
        "Reciprocal",
        "Reshape",
        "Slice",
        "Sqrt",
        "Squeeze",
        "Sub",
        "Transpose",
        "Unsqueeze",
    )
)
"""Operators that are computed while reading when all their inputs are constant."""


@dataclass(frozen=True)
class Int8Rows:
    """A weight matrix kept as int8: W = values * scale along ``axis``."""

    values: np.ndarray
    """int8 [rows, columns]."""
    scale: np.ndarray
    """float32, one per entry of ``axis``."""
    axis: int
    """0: a scale per row; 1: per column."""

    def dense(self) -> np.ndarray:
        """The float32 matrix that it stands for."""
        return self.values.astype(np.float32) * (self.scale[:, None] if self.axis == 0 else self.scale[None, :])


Constant = np.ndarray | Int8Rows


@dataclass(frozen=True)
class Node:
    """One operation."""

    op: str
    """ONNX operator, or FakeQuantize."""
    name: str
    """For people; unique in most graphs."""
    inputs: tuple[str, ...]
    """Value or constant names; "" where an optional input is absent."""
    outputs: tuple[str, ...]
    """Value names."""
    attributes: dict[str, Any] = field(default_factory=dict)
    """As in the ONNX node."""

    def refuse(self, expected: str, found: str) -> Unsupported:
        """The error for a node that the C back-end cannot print."""
        return Unsupported(f"C back-end, {self.op} node {self.name!r}", expected=expected, found=found)


@dataclass
class Graph:
    """A policy as nodes over flat vectors."""

    inputs: dict[str, int]
    """Name -> number of float32 values: obs and state_in_NAME, in graph order."""
    outputs: dict[str, int]
    """Name -> number of values: action and state_out_NAME, in graph order."""
    nodes: list[Node]
    """In an order in which every input is there before it is used."""
    sizes: dict[str, int]
    """Number of values of everything that a node reads or writes, constants excluded."""
    constants: dict[str, Constant]
    """What does not depend on an input."""
    integer: set[str] = field(default_factory=set)
    """Values that are integers (the discrete action) rather than float32."""

    def matrix(self, node: Node, name: str) -> Constant:
        """The constant 2-D weight that ``node`` takes as ``name``."""
        value = self.constants.get(name)
        if value is None:
            raise node.refuse("a constant weight matrix", f"{name!r}, which is computed")
        array = value.values if isinstance(value, Int8Rows) else value
        if array.ndim != 2 or array.dtype not in (np.float32, np.int8):
            raise node.refuse("a float32 or int8 weight matrix [rows, columns]", f"{array.dtype}{list(array.shape)}")
        return value

    def vector(self, node: Node, name: str) -> np.ndarray:
        """The constant ``name`` as flat float32."""
        value = self.constants[name]
        array = value.dense() if isinstance(value, Int8Rows) else value
        if array.dtype != np.float32:
            raise node.refuse("float32 numbers", f"{array.dtype} in {name!r}")
        return array.reshape(-1)

    def scalar(self, node: Node, name: str) -> float:
        """The constant ``name``, one number."""
        if name not in self.constants:
            raise node.refuse("a constant number", f"{name!r}, which is computed")
        value = self.vector(node, name)
        if value.size != 1:
            raise node.refuse("one number", f"{value.size} in {name!r}")
        return float(value[0])

    def integers(self, node: Node, name: str) -> list[int]:
        """The constant int64 list ``name``."""
        value = self.constants.get(name)
        if not isinstance(value, np.ndarray) or value.dtype.kind != "i":
            raise node.refuse("a constant list of integers", f"{name!r}")
        return [int(v) for v in value.reshape(-1)]


def read(model: onnx.ModelProto, supported: Iterable[str]) -> Graph:
    """Read a checked, static, batch-1 model.

    ``supported`` are the operators that the caller prints. Raises Unsupported for any other operator, for
    values that are not vectors, and BadInput for dynamic shapes, side files and weights that are not finite.
    """
    onnx = require("onnx", "export")
    try:
        onnx.checker.check_model(model)
        model = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise BadInput("ONNX graph", expected="a valid model", found=str(error).strip().splitlines()[0]) from error
    return _Reader(onnx, model.graph, frozenset(supported)).graph()


class _Reader:
    """Walks a GraphProto once."""

    def __init__(self, onnx_module: Any, proto: onnx.GraphProto, supported: frozenset[str]) -> None:
        self.onnx, self.proto, self.supported = onnx_module, proto, supported
        self.constants: dict[str, Constant] = {}
        self.nodes: list[Node] = []
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.integer: set[str] = set()

    def graph(self) -> Graph:
        for initializer in self.proto.initializer:
            self.constants[initializer.name] = self._tensor(initializer, initializer.name)
        for value in (*self.proto.input, *self.proto.output, *self.proto.value_info):
            self._shape(value)
        for proto in self.proto.node:
            self._node(proto)
        inputs = {v.name: self._size(v.name) for v in self.proto.input if v.name not in self.constants}
        outputs = {v.name: self._size(v.name) for v in self.proto.output}
        self._fuse_quantizers()
        sizes = dict(inputs)
        for node in self.nodes:
            sizes |= {name: self._size(name) for name in node.outputs if name}
        return Graph(inputs, outputs, self.nodes, sizes, self.constants, self.integer)

    def _tensor(self, tensor: onnx.TensorProto, name: str) -> np.ndarray:
        if tensor.data_location == self.onnx.TensorProto.EXTERNAL:
            raise BadInput(f"ONNX tensor {name!r}", expected="data inside the model", found="a side file")
        array = np.array(self.onnx.numpy_helper.to_array(tensor))
        return self._finite(array, name)

    @staticmethod
    def _finite(array: np.ndarray, name: str) -> np.ndarray:
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            bad = int((~np.isfinite(array)).sum())
            raise BadInput(f"ONNX tensor {name!r}", expected="finite numbers", found=f"{bad} NaN or infinite")
        return array

    def _shape(self, value: onnx.ValueInfoProto) -> None:
        tensor = value.type.tensor_type
        if tensor.elem_type != self.onnx.TensorProto.FLOAT:
            self.integer.add(value.name)
        if not tensor.HasField("shape"):
            return
        dims = [d.dim_value if d.HasField("dim_value") else d.dim_param or "?" for d in tensor.shape.dim]
        if any(isinstance(d, str) or d <= 0 for d in dims):
            raise BadInput(
                f"ONNX value {value.name!r}",
                expected="a static shape",
                found=f"[{', '.join(map(str, dims))}]",
                repair="Export the graph with batch 1 and no dynamic axes",
            )
        self.shapes[value.name] = tuple(int(d) for d in dims)

    def _size(self, name: str) -> int:
        shape = self.shapes.get(name)
        if shape is None:
            raise BadInput(f"ONNX value {name!r}", expected="a shape that can be inferred", found="none")
        if sum(d > 1 for d in shape) > 1:
            raise Unsupported(f"ONNX value {name!r}", expected="a vector (batch 1)", found=f"shape {list(shape)}")
        return prod(shape)

    def _node(self, proto: onnx.NodeProto) -> None:
        name = proto.name or "/".join(proto.output)
        if proto.domain not in ("", "ai.onnx"):
            raise self._unknown(f"{proto.domain}.{proto.op_type}", name)
        if any(a.type in (self.onnx.AttributeProto.GRAPH, self.onnx.AttributeProto.GRAPHS) for a in proto.attribute):
            raise self._unknown(proto.op_type, name)
        attributes = {a.name: self.onnx.helper.get_attribute_value(a) for a in proto.attribute}
        node = Node(proto.op_type, name, tuple(proto.input), tuple(proto.output), attributes)
        if node.op in FOLDABLE and all(not i or i in self.constants for i in node.inputs):
            self._fold(node, proto)
        elif node.op in self.supported:
            self.nodes.append(node)
        else:
            raise self._unknown(node.op, name)

    def _unknown(self, op: str, name: str) -> Unsupported:
        known = ", ".join(sorted(self.supported - {"FakeQuantize"}))
        return Unsupported(
            f"operator {op} (node {name!r})",
            expected="an operator that the C back-end prints",
            found=op,
            repair=f"Known: {known}",
        )

    def _fold(self, node: Node, proto: onnx.NodeProto) -> None:
        size = prod(self.shapes.get(node.outputs[0], (0,)))
        if size > MAX_CONSTANT_VALUES:
            raise node.refuse(f"at most {MAX_CONSTANT_VALUES} constant values", f"{size}")
        rows = self._int8_rows(node)
        if rows is not None:
            self.constants[node.outputs[0]] = rows
            return
        feeds = [self.constants[i] for i in node.inputs if i]
        arrays = [f.dense() if isinstance(f, Int8Rows) else f for f in feeds]
        if node.op == "Constant" and isinstance(node.attributes.get("value"), self.onnx.TensorProto):
            self.constants[node.outputs[0]] = self._tensor(node.attributes["value"], node.outputs[0])
            return
        helper = self.onnx.helper
        names = [i for i in node.inputs if i]
        infos = [
            helper.make_tensor_value_info(i, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
            for i, a in zip(names, arrays, strict=True)
        ]
        out = [self.onnx.ValueInfoProto(name=o) for o in node.outputs]
        alone = helper.make_model(helper.make_graph([proto], "fold", infos, out), opset_imports=[helper.make_opsetid("", 17)])
        results = require("onnx.reference", "export").ReferenceEvaluator(alone).run(None, dict(zip(names, arrays, strict=True)))
        for name, value in zip(node.outputs, results, strict=True):
            self.constants[name] = self._finite(np.asarray(value), name)

    def _int8_rows(self, node: Node) -> Int8Rows | None:
        """A DequantizeLinear of a symmetric int8 matrix, else None."""
        if node.op != "DequantizeLinear":
            return None
        values, scale = (self.constants[i] for i in node.inputs[:2])
        zero = self.constants[node.inputs[2]] if len(node.inputs) > 2 and node.inputs[2] else np.zeros(1, np.int8)
        plain = isinstance(values, np.ndarray) and isinstance(scale, np.ndarray) and isinstance(zero, np.ndarray)
        if not plain or values.dtype != np.int8 or values.ndim != 2 or zero.any() or "block_size" in node.attributes:
            return None
        axis = int(node.attributes.get("axis", 1)) % 2
        if scale.size not in (1, values.shape[axis]) or scale.dtype != np.float32:
            return None
        return Int8Rows(values, np.broadcast_to(scale.reshape(-1), (values.shape[axis],)).copy(), axis)

    def _fuse_quantizers(self) -> None:
        """QuantizeLinear -> DequantizeLinear with one constant grid: FakeQuantize(x; scale, zero, low, high)."""
        quantized = {n.outputs[0]: n for n in self.nodes if n.op == "QuantizeLinear"}
        fused: list[Node] = []
        for node in self.nodes:
            if node.op == "DequantizeLinear" and node.inputs[0] in quantized:
                source = quantized[node.inputs[0]]
                if self._grid(source) != self._grid(node):
                    raise node.refuse("the scale and zero point of its QuantizeLinear", "others")
                scale, zero, low, high = self._grid(node)
                attributes = {"scale": scale, "zero": zero, "low": low, "high": high}
                fused.append(Node("FakeQuantize", node.name, (source.inputs[0],), node.outputs, attributes))
            elif node.op != "QuantizeLinear":
                fused.append(node)
        self.nodes = fused

    def _grid(self, node: Node) -> tuple[float, int, int, int]:
        values = [self.constants.get(i) for i in node.inputs[1:] if i]
        if not values or any(not isinstance(v, np.ndarray) or v.size != 1 for v in values):
            raise node.refuse("one constant scale and zero point per tensor", "several, or computed ones")
        zero = values[1] if len(values) > 1 else np.zeros(1, np.uint8)
        if zero.dtype not in (np.int8, np.uint8) or values[0].dtype != np.float32:  # type: ignore[union-attr]
            raise node.refuse("an int8 or uint8 grid with a float32 scale", f"{zero.dtype}")  # type: ignore[union-attr]
        limits = np.iinfo(zero.dtype)  # type: ignore[union-attr]
        return float(values[0].reshape(-1)[0]), int(zero.reshape(-1)[0]), int(limits.min), int(limits.max)  # type: ignore[union-attr]
