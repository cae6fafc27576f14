"""ONNX graph -> the same graph with every zero point at 0: the only grids that TensorRT takes on a GPU.

The quantize pass puts the output of a ReLU on a grid from 0 up, whose zero point is -128. Moving the *value* instead of the
grid means the same: round(x / s) + z = round((x + z s) / s), so x + z s is quantized with zero point 0, and z s is taken off
again behind the matrix, where it is a constant: W (s q - z s) + b = W (s q) + (b - z s W 1). Integers, grid and saturation
are unchanged; only an exact tie may round to its other neighbour where z is odd.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import require

if TYPE_CHECKING:
    import onnx


def to_symmetric(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of ``model`` in which no activation has a zero point other than 0; the same bytes where none had."""
    onnx = require("onnx", "export")
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    graph = changed.graph
    value = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    made_by = {name: node for node in graph.node for name in node.output}
    offsets: dict[str, np.float32] = {}  # output of a dequantizer -> z s, by which it now lies too high

    def constant(name: str, array: np.ndarray) -> str:
        graph.initializer.append(onnx.numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    nodes: list[Any] = []
    for node in graph.node:
        zero = value.get(node.input[2]) if node.op_type in ("QuantizeLinear", "DequantizeLinear") else None
        if zero is not None and zero.size == 1 and zero.item() != 0:
            offset = np.float32(zero.item() * value[node.input[1]].item())
            none = constant(f"{node.output[0]}_no_zero", np.zeros(zero.shape, zero.dtype))
            if node.op_type == "QuantizeLinear":
                name = constant(f"{node.output[0]}_offset", np.full((1, 1), offset))
                moved = f"{node.output[0]}_moved"
                nodes.append(onnx.helper.make_node("Add", [node.input[0], name], [moved], name=f"Add:{moved}"))
                node.input[0] = moved
            else:
                offsets[node.output[0]] = offset
            node.input[2] = none
            nodes.append(node)
            continue
        nodes.append(node)
        for position, name in enumerate(node.input):
            if name not in offsets:
                continue
            rows = _rows(node, made_by, value) if position == 0 and node.op_type == "Gemm" else None
            if rows is None:  # not a matrix: the value itself is put back
                back = f"{name}_back"
                if back not in made_by:
                    off = constant(f"{name}_offset", np.full((1, 1), -offsets[name]))
                    made_by[back] = onnx.helper.make_node("Add", [name, off], [back], name=f"Add:{back}")
                    nodes.insert(len(nodes) - 1, made_by[back])
                node.input[position] = back
                continue
            bias = value[node.input[2]].astype(np.float64) if len(node.input) > 2 else 0.0
            name = constant(f"{node.output[0]}_bias", (bias - float(offsets[name]) * rows).astype(np.float32))
            node.input[:] = [*node.input[:2], name]
    del graph.node[:]
    graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
    onnx.checker.check_model(changed, full_check=True)
    return changed


def _rows(gemm: onnx.NodeProto, made_by: dict[str, Any], value: dict[str, np.ndarray]) -> np.ndarray | None:
    """W 1, float64 [out], of a Gemm whose matrix [out, in] and bias are constants; None where they are not."""
    weight = gemm.input[1]
    plain = {a.name: a.i for a in gemm.attribute} == {"transB": 1}
    if not plain or (len(gemm.input) > 2 and gemm.input[2] not in value):
        return None
    if weight in value:
        return value[weight].astype(np.float64).sum(axis=1)
    source = made_by.get(weight)
    if source is None or source.op_type != "DequantizeLinear" or source.input[0] not in value:
        return None
    scale = value[source.input[1]].astype(np.float64)
    return value[source.input[0]].astype(np.float64).sum(axis=1) * scale
