"""Reads an ONNX policy graph: checks it, folds what is constant, and gives nodes over flat vectors.

Every value is a flat float32 vector: batch is 1, so a shape such as [1, 64] is 64 numbers. int8 weights stay
int8 (:class:`.constants.Int8Rows`); a QuantizeLinear with its DequantizeLinear becomes one FakeQuantize node.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import BadInput, Unsupported, require
from .constants import FOLDABLE, MAX_CONSTANT_VALUES, Constant, finite, fold
from .graph import Graph, Node
from .layouts import with_layouts
from .quantizers import fuse_quantizers

if TYPE_CHECKING:
    import onnx

OLDEST_OPSET = 13
"""Before it, Clip, Softmax, Squeeze and Split meant or took something else."""


def read(model: onnx.ModelProto, supported: Iterable[str]) -> Graph:
    """Read a checked, static, batch-1 model.

    ``supported`` are the operators that the caller prints. Raises Unsupported for any other operator, for
    values that are not vectors, and BadInput for dynamic shapes, side files and weights that are not finite.
    """
    onnx = require("onnx", "export")
    for tensor in model.graph.initializer:
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            raise BadInput(f"ONNX tensor {tensor.name!r}", expected="data inside the model", found="a side file")
    try:
        onnx.checker.check_model(model)
        model = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise BadInput("ONNX graph", expected="a valid model", found=str(error).strip().splitlines()[0]) from error
    opset = max((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), default=1)
    if opset < OLDEST_OPSET:
        raise Unsupported("ONNX graph", expected=f"opset {OLDEST_OPSET} or newer", found=f"{opset}")
    if model.graph.sparse_initializer:
        name = model.graph.sparse_initializer[0].values.name
        raise Unsupported(f"ONNX tensor {name!r}", expected="a dense tensor", found="a sparse one")
    return _Reader(onnx, model.graph, frozenset(supported), opset).graph()


class _Reader:
    """Walks a GraphProto once."""

    def __init__(self, onnx_module: Any, proto: onnx.GraphProto, supported: frozenset[str], opset: int) -> None:
        self.onnx, self.proto, self.supported, self.opset = onnx_module, proto, supported, opset
        self.constants: dict[str, Constant] = {}
        self.nodes: list[Node] = []
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.integer: set[str] = set()
        self.images: set[str] = set()

    def graph(self) -> Graph:
        for initializer in self.proto.initializer:
            array = np.array(self.onnx.numpy_helper.to_array(initializer))
            self.constants[initializer.name] = finite(array, initializer.name)
        for value in (*self.proto.input, *self.proto.output, *self.proto.value_info):
            self._shape(value)
        for proto in self.proto.node:
            self._node(proto)
        self.nodes, self.images = with_layouts(self.nodes, self.shapes, self.constants)
        inputs = {v.name: self._size(v.name) for v in self.proto.input if v.name not in self.constants}
        outputs = {v.name: self._size(v.name) for v in self.proto.output}
        self.nodes = fuse_quantizers(self.nodes, self.constants)
        sizes = dict(inputs)
        for node in self.nodes:
            sizes |= {name: self._size(name) for name in node.outputs if name}
        return Graph(inputs, outputs, self.nodes, sizes, self.constants, self.integer)

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
        if sum(d > 1 for d in shape) > 1 and name not in self.images:
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
            size = prod(self.shapes.get(node.outputs[0], (0,)))
            if size > MAX_CONSTANT_VALUES:
                raise node.refuse(f"at most {MAX_CONSTANT_VALUES} constant values", f"{size}")
            self.constants |= fold(proto, self.constants, self.opset)
        elif node.op in self.supported:
            self._check_types(node)
            self.nodes.append(node)
        else:
            raise self._unknown(node.op, name)

    def _check_types(self, node: Node) -> None:
        """Everything is float32, but the int8 between two quantizers and the index that is the action."""
        for value in node.inputs:
            if value in self.integer and value not in self.constants and node.op != "DequantizeLinear":
                raise node.refuse("float32 values", f"{value!r}, which is not")
        for value in node.outputs:
            if value in self.integer and node.op not in ("ArgMax", "QuantizeLinear"):
                raise node.refuse("float32 results", f"{value!r}, which is not")

    def _unknown(self, op: str, name: str) -> Unsupported:
        known = ", ".join(sorted(self.supported - {"FakeQuantize"}))
        return Unsupported(
            f"operator {op} (node {name!r})",
            expected="an operator that the C back-end prints",
            found=op,
            repair=f"Known: {known}",
        )
