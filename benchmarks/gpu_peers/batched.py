"""The ONNX graph of a policy for more rows than one."""

from __future__ import annotations

import onnx

from pilotfish.export.onnx import to_onnx
from pilotfish.policy.bundle import Policy


def onnx_of(policy: Policy, batch: int) -> onnx.ModelProto:
    """As exported, with the first axis of every input and output ``batch`` long; checked by shape inference."""
    model = to_onnx(policy)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.shape.dim[0].dim_value = batch
    del model.graph.value_info[:]
    onnx.checker.check_model(model, full_check=True)
    return model
