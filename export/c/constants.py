"""What an ONNX graph computes from constants alone, computed while reading; int8 weights stay int8."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import BadInput, Unsupported, require

if TYPE_CHECKING:
    import onnx

MAX_CONSTANT_VALUES = 1 << 28
"""A constant with more numbers than this is refused before it is computed."""
FOLDABLE = frozenset(
    {"Add", "Cast", "Concat", "Constant", "DequantizeLinear", "Div", "Flatten", "Identity", "Mul", "Neg", "Pow"}
    | {"Reciprocal", "Reshape", "Slice", "Sqrt", "Squeeze", "Sub", "Transpose", "Unsqueeze"}
)
"""Operators that are computed while reading when all their inputs are constant."""


@dataclass(frozen=True)
class Int8Rows:
    """A weight kept as int8: W = values * scale along ``axis``."""

    values: np.ndarray
    """int8 [rows, columns], or the kernels [out, in, rows, columns] of a convolution."""
    scale: np.ndarray
    """float32, one per entry of ``axis``."""
    axis: int
    """0: a scale per row; 1: per column."""

    def dense(self) -> np.ndarray:
        """The float32 numbers that it stands for."""
        shape = [1] * self.values.ndim
        shape[self.axis] = -1
        return self.values.astype(np.float32) * self.scale.reshape(shape)


@dataclass(frozen=True)
class HalfMatrix:
    """A weight kept as float16."""

    values: np.ndarray
    """float16 [rows, columns], or the kernels of a convolution."""

    def dense(self) -> np.ndarray:
        """The float32 numbers that it stands for, exactly."""
        return self.values.astype(np.float32)


Constant = np.ndarray | Int8Rows | HalfMatrix


def as_array(constant: Constant) -> np.ndarray:
    """The constant as plain numbers."""
    return constant if isinstance(constant, np.ndarray) else constant.dense()


def finite(array: np.ndarray, name: str) -> np.ndarray:
    """``array``, or BadInput if a number in it is not finite."""
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        bad = int((~np.isfinite(array)).sum())
        raise BadInput(f"ONNX tensor {name!r}", expected="finite numbers", found=f"{bad} NaN or infinite")
    return array


def fold(node: onnx.NodeProto, constants: Mapping[str, Constant], opset: int) -> dict[str, Constant]:
    """Compute a node whose inputs are all in ``constants``; output name -> value."""
    if node.op_type == "DequantizeLinear":
        return {node.output[0]: _dequantize(node, constants)}
    onnx = require("onnx", "export")
    given = constants[node.input[0]] if node.op_type == "Cast" else None
    to_float = [a.i for a in node.attribute if a.name == "to"] == [onnx.TensorProto.FLOAT]
    if to_float and isinstance(given, np.ndarray) and given.dtype == np.float16 and given.ndim in (2, 4):
        return {node.output[0]: HalfMatrix(given)}
    helper = onnx.helper
    feeds = {name: as_array(constants[name]) for name in node.input if name}
    infos = [helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(a.dtype), a.shape) for n, a in feeds.items()]
    outputs = [onnx.ValueInfoProto(name=name) for name in node.output]
    alone = helper.make_model(helper.make_graph([node], "fold", infos, outputs), opset_imports=[helper.make_opsetid("", opset)])
    try:
        with np.errstate(all="ignore"):
            results = require("onnx.reference", "export").ReferenceEvaluator(alone).run(None, feeds)
    except (RuntimeError, ValueError, TypeError, IndexError, NotImplementedError) as error:
        found = str(error).strip().splitlines()[0]
        where, expected = f"constant {node.output[0]!r}", f"a {node.op_type} that onnx evaluates"
        raise Unsupported(where, expected=expected, found=found) from error
    return {name: finite(np.asarray(value), name) for name, value in zip(node.output, results, strict=True)}


def _dequantize(node: onnx.NodeProto, constants: Mapping[str, Constant]) -> Constant:
    """(values - zero) * scale; a symmetric int8 matrix is kept as it is."""
    onnx = require("onnx", "export")
    attributes: dict[str, Any] = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    values, scale = (as_array(constants[i]) for i in node.input[:2])
    zero = as_array(constants[node.input[2]]) if len(node.input) > 2 and node.input[2] else np.zeros((), values.dtype)
    axis = int(attributes.get("axis", 1))
    axis = axis + values.ndim if axis < 0 else axis
    channels = values.shape[axis] if axis < values.ndim else 1
    known = values.dtype.kind in "iu" and scale.dtype == np.float32 and {scale.size, zero.size} <= {1, channels}
    if not known or attributes.get("block_size", 0):
        raise Unsupported(
            f"DequantizeLinear of {node.input[0]!r}",
            expected=f"integers with a float32 scale for all, or for each of {channels}",
            found=f"{values.dtype} with {scale.dtype}{list(scale.shape)}",
        )
    if values.dtype == np.int8 and values.ndim in (2, 4) and not zero.any():
        return Int8Rows(values, finite(np.broadcast_to(scale.reshape(-1), (channels,)).copy(), node.input[1]), axis)
    shape = [1] * values.ndim
    if channels > 1:
        shape[axis] = -1
    wide = values.astype(np.int64) - zero.astype(np.int64).reshape(shape if zero.size > 1 else [1] * values.ndim)
    return finite(wide.astype(np.float32) * scale.reshape(shape if scale.size > 1 else [1] * values.ndim), node.output[0])
