"""Constants of an ONNX graph: initializers with checked sizes, and the few operators folded on them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from ...errors import BadInput, require
from .signal import Misfit

MAX_VALUES = 1 << 27
"""A constant of more values is refused before it is made."""


def tensor_array(tensor: Any, where: object) -> np.ndarray:
    """A TensorProto as numpy; BadInput for external data, odd types and sizes that do not match the bytes."""
    onnx = require("onnx", "export")
    name = tensor.name or "(unnamed)"
    if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
        raise BadInput(
            where,
            expected="one self-contained ONNX file",
            found=f"the tensor {name!r} in another file (external data)",
            repair="Save it with all tensors inside: onnx.save(model, path, save_as_external_data=False)",
        )
    if any(d < 0 for d in tensor.dims) or math.prod(tensor.dims) > MAX_VALUES:
        raise BadInput(where, expected=f"tensors of at most {MAX_VALUES} values", found=f"{name!r} of shape {list(tensor.dims)}")
    try:
        array = onnx.numpy_helper.to_array(tensor)
    except Exception as error:
        raise BadInput(where, expected=f"an intact tensor {name!r}", found=f"{error}"[:120]) from error
    if array.dtype.kind not in "fiub":
        raise BadInput(where, expected=f"numbers in the tensor {name!r}", found=f"{array.dtype}")
    if array.dtype.kind == "f" and np.isnan(array).any():
        raise BadInput(where, expected=f"finite numbers in {name!r}", found="NaN", repair="Train or export the policy again")
    return array


def _bounded(shape: tuple[int, ...]) -> tuple[int, ...]:
    if math.prod(shape) > MAX_VALUES or any(d < 0 for d in shape):
        raise Misfit(f"a constant of shape {list(shape)}")
    return shape


def _pointwise(function: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    def apply(*arrays: np.ndarray) -> np.ndarray:
        _bounded(np.broadcast_shapes(*(a.shape for a in arrays)))
        with np.errstate(all="ignore"):
            result = function(*arrays)
        return result.astype(arrays[0].dtype, copy=False)

    return apply


def _axes(axes: Any, rank: int) -> tuple[int, ...]:
    return tuple(int(a) % rank if rank else 0 for a in np.reshape(axes, -1))


def _fold_shape(op: str, arrays: list[np.ndarray], attributes: dict[str, Any]) -> np.ndarray:
    x = arrays[0]
    axes: Any = attributes.get("axes", arrays[1] if len(arrays) > 1 else None)
    match op:
        case "Reshape":
            wanted = [x.shape[i] if d == 0 and i < x.ndim else int(d) for i, d in enumerate(arrays[1].reshape(-1))]
            return x.reshape(wanted)
        case "Flatten":
            axis = attributes.get("axis", 1)
            return x.reshape(math.prod(x.shape[:axis]), -1) if x.size else x
        case "Squeeze":
            return np.squeeze(x, None if axes is None else _axes(axes, x.ndim))
        case "Unsqueeze":
            return np.expand_dims(x, _axes(axes, x.ndim + len(np.reshape(axes, -1))))
        case "Transpose":
            return np.transpose(x, attributes.get("perm"))
        case "Concat":
            return np.concatenate(arrays, axis=attributes["axis"])
        case "Gather":
            return np.take(x, arrays[1].astype(np.int64), axis=attributes.get("axis", 0))
        case "Slice":
            starts, ends, axes, steps = slice_arguments(arrays, attributes, x.ndim)
            index = [slice(None)] * x.ndim
            for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
                index[axis] = slice(start, end, step)
            return x[tuple(index)]
        case "Expand":
            return np.broadcast_to(x, _bounded(np.broadcast_shapes(x.shape, tuple(int(d) for d in arrays[1])))).copy()
    raise Misfit("an operator that is not folded on constants")


def slice_arguments(inputs: list[Any], attributes: dict[str, Any], rank: int) -> tuple[list[int], ...]:
    """(starts, ends, axes, steps) of a Slice, from inputs (opset 10 and later) or attributes; axes are not negative."""
    if "starts" in attributes:
        starts, ends, axes, steps = attributes["starts"], attributes["ends"], attributes.get("axes"), None
    else:
        if not all(a is None or isinstance(a, np.ndarray) for a in inputs[1:]) or len(inputs) < 3:
            raise Misfit("a slice at places that depend on the observation")
        starts, ends, axes, steps = (*(None if a is None else a.reshape(-1) for a in inputs[1:5]), None, None)[:4]
    starts, ends = [int(v) for v in starts], [int(v) for v in ends]
    axes = list(range(len(starts))) if axes is None else [int(a) % rank for a in axes]
    steps = [1] * len(starts) if steps is None else [int(s) for s in steps]
    if not len(starts) == len(ends) == len(axes) == len(steps) or 0 in steps:
        raise Misfit("a slice with unequal lists")
    return starts, ends, axes, steps


_POINTWISE: dict[str, Callable[..., np.ndarray]] = {
    "Add": _pointwise(np.add),
    "Sub": _pointwise(np.subtract),
    "Mul": _pointwise(np.multiply),
    "Div": _pointwise(lambda a, b: a / b if a.dtype.kind == "f" else a // np.where(b == 0, 1, b)),
    "Sqrt": _pointwise(np.sqrt),
    "Reciprocal": _pointwise(lambda a: 1 / a),
    "Neg": _pointwise(np.negative),
    "Exp": _pointwise(np.exp),
    "Abs": _pointwise(np.abs),
    "Pow": _pointwise(np.power),
    "Max": _pointwise(lambda *a: np.maximum.reduce(np.broadcast_arrays(*a))),
    "Min": _pointwise(lambda *a: np.minimum.reduce(np.broadcast_arrays(*a))),
}


def fold(op: str, arrays: list[np.ndarray], attributes: dict[str, Any]) -> np.ndarray:
    """The result of an operator whose inputs are all constants. Raises Misfit for operators that are not folded."""
    try:
        if op in _POINTWISE:
            return _POINTWISE[op](*arrays)
        if op in ("Identity", "Dropout"):
            return arrays[0]
        if op == "Cast":
            onnx = require("onnx", "export")
            return arrays[0].astype(onnx.helper.tensor_dtype_to_np_dtype(attributes["to"]))
        if op == "Shape":
            return np.asarray(arrays[0].shape, np.int64)
        if op == "ConstantOfShape":
            fill = attributes.get("value", np.zeros(1, np.float32)).reshape(-1)[0]
            return np.full(_bounded(tuple(int(d) for d in arrays[0])), fill)
        return _fold_shape(op, arrays, attributes)
    except (ValueError, TypeError, IndexError, KeyError, OverflowError) as error:
        raise Misfit(f"constants that do not fit ({error})"[:160]) from error
