"""ONNX -> Relax kernels: imported, legalized, constants folded, and neighboring operators fused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import Unsupported, require

if TYPE_CHECKING:
    import onnx


def kernels_of(model: onnx.ModelProto) -> Any:
    """The IRModule of ``model``: ``main`` calls fused PrimFuncs one after the other, weights are constants in it.

    Raises Unsupported with the operator's name where TVM's importer does not know it, MissingTool without TVM.
    """
    tvm = require("tvm", "tvm")
    frontend = require("tvm.relax.frontend.onnx", "tvm")
    passes = require("tvm.relax", "tvm").transform
    try:
        module = frontend.from_onnx(with_tanh_for_sigmoid(model), keep_params_in_input=False)
    except tvm.error.OpNotImplemented as error:
        found = str(error).strip().splitlines()[-1].rpartition(":")[2].strip() or str(error)
        raise Unsupported(
            "ONNX graph", expected="operators that TVM imports", found=found, repair="Use --backend onnxruntime or c"
        ) from error
    return tvm.transform.Sequential(
        [
            # tanh and exp in vector registers, within 2.5e-7 and 1e-7 of the truth (measured, |x| <= 12); as they are,
            # both become calls of the C library's expf, value by value.
            passes.FastMathTransform(),
            passes.LegalizeOps(),
            passes.AnnotateTIROpPattern(),
            passes.FoldConstant(),
            passes.FuseOps(),
            passes.FuseTIR(),
        ]
    )(module)


def with_tanh_for_sigmoid(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy in which sigmoid(x) is 0.5 tanh(0.5 x) + 0.5, the same function.

    TVM has a tanh that fills vector registers, and turns sigmoid into one call of the C library's expf per value.
    """
    onnx = require("onnx", "tvm")
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    graph, half = copy.graph, "sigmoid.half"
    nodes: list[Any] = []
    for node in graph.node:
        if node.op_type != "Sigmoid":
            nodes.append(node)
            continue
        (x,), (y,) = node.input, node.output
        make = onnx.helper.make_node
        nodes += [
            make("Mul", [x, half], [f"{y}.halved"]),
            make("Tanh", [f"{y}.halved"], [f"{y}.tanh"]),
            make("Mul", [f"{y}.tanh", half], [f"{y}.scaled"]),
            make("Add", [f"{y}.scaled", half], [y]),
        ]
    if len(nodes) > len(graph.node):
        del graph.node[:]
        graph.node.extend(nodes)
        graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(0.5, np.float32), half))
    return copy
