"""ONNX graph -> the same graph with its matrices and their products in 16 bits; everything else stays float32.

A strongly typed TensorRT network takes its precision from the graph. Observations, normalizer, biases, activation functions,
recurrent states and the action transform stay float32: they cost a few kernels nothing, while an observation in millimetres or
RPM would overflow float16, and a state that is rounded at every step drifts. What is large is the matrices.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ...errors import BadInput, require

if TYPE_CHECKING:
    import onnx

HALF_LIMIT = 65504.0
"""Largest finite float16."""


def to_half(model: onnx.ModelProto, precision: str) -> onnx.ModelProto:
    """A copy of ``model`` whose Gemm nodes multiply in ``precision``, "fp16" or "bf16".

    Each Gemm(x, W, b) becomes Cast(Gemm(Cast(x), half W)) + b. Convolutions stay float32, until somebody has measured what 16
    bits bring them. Raises BadInput for a weight that float16 cannot hold, or
    one that is not a float32 constant (an int8 policy has its precision already).
    """
    onnx = require("onnx", "export")
    helper, numpy_helper, kinds = onnx.helper, onnx.numpy_helper, onnx.TensorProto
    kind = {"fp16": kinds.FLOAT16, "bf16": kinds.BFLOAT16}[precision]
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    graph = changed.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    nodes, halves = [], {}
    for node in graph.node:
        if node.op_type != "Gemm":
            nodes.append(node)
            continue
        x, weight, *bias = node.input
        if weight not in constants or constants[weight].data_type != kinds.FLOAT:
            raise BadInput(f"matrix {weight}", expected=f"float32 constants, to be stored as {precision}", found="something else")
        if weight not in halves:
            halves[weight] = _half(numpy_helper.to_array(constants[weight]), f"{weight}_{precision}", kind, precision, helper)
        (output,) = node.output
        small, product, wide = f"{output}_{precision}_in", f"{output}_{precision}_out", f"{output}_product" if bias else output
        gemm = helper.make_node("Gemm", [small, halves[weight].name], [product], name=node.name)
        gemm.attribute.extend(node.attribute)
        nodes += [
            helper.make_node("Cast", [x], [small], name=f"Cast:{small}", to=kind),
            gemm,
            helper.make_node("Cast", [product], [wide], name=f"Cast:{wide}", to=kinds.FLOAT),
        ]
        if bias:
            nodes.append(helper.make_node("Add", [wide, bias[0]], [output], name=f"Add:{output}"))
    del graph.node[:]
    graph.node.extend(nodes)
    used = {name for node in nodes for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used] + list(halves.values())
    del graph.initializer[:]
    graph.initializer.extend(kept)
    onnx.checker.check_model(changed, full_check=True)
    return changed


def _half(value: np.ndarray, name: str, kind: int, precision: str, helper) -> onnx.TensorProto:
    """float32 values rounded to nearest, ties to even, as a 16-bit tensor."""
    if precision == "fp16":
        if np.abs(value).max(initial=0.0) > HALF_LIMIT:
            raise BadInput(f"matrix {name}", expected="weights that float16 can hold, up to 65504", found="a larger one")
        return helper.make_tensor(name, kind, value.shape, value.astype(np.float16).tobytes(), raw=True)
    bits = np.ascontiguousarray(value).view(np.uint32)
    rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return helper.make_tensor(name, kind, value.shape, rounded.tobytes(), raw=True)
