"""numpy arrays and scalars from inert pickle records: shapes, dtypes and byte counts are checked first."""

from __future__ import annotations

import math
import re
from typing import Any, Literal

import numpy as np

from ...errors import BadInput
from .unpickler import Global, Record

_RECONSTRUCT = ("numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct")
_SCALAR = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
_FROM_BUFFER = ("numpy.core.numeric._frombuffer", "numpy._core.numeric._frombuffer")
_PLAIN_DTYPE = re.compile(r"[<>=|]?(b1|[iu][1248]|f[248])")
_SCALAR_TYPE = re.compile(r"(bool_?|u?int(8|16|32|64)|float(16|32|64))")

NUMPY_NAMES = frozenset({*_RECONSTRUCT, *_SCALAR, *_FROM_BUFFER, "numpy.ndarray", "numpy.dtype", "_codecs.encode"})
"""What a pickle of arrays may mention."""


def is_numpy_name(module: str, name: str) -> bool:
    """Whether module.name is one of the few that stand for arrays, dtypes and scalar types."""
    return f"{module}.{name}" in NUMPY_NAMES or (module == "numpy" and _SCALAR_TYPE.fullmatch(name) is not None)


def dtype_of(value: Any, where: object) -> np.dtype:
    """The numpy dtype of a record or scalar type; plain bool, integer and float only."""
    order: Literal["", "<", ">"] = ""
    if isinstance(value, Global) and value.module == "numpy" and _SCALAR_TYPE.fullmatch(value.name):
        code: Any = np.dtype(getattr(np, value.name)).str
    elif isinstance(value, Record) and value.path == "numpy.dtype" and value.args:
        code = value.args[0]
        if isinstance(value.state, tuple) and len(value.state) >= 5:
            order = "<" if value.state[1] == "<" else ">" if value.state[1] == ">" else ""
            if any(part is not None for part in value.state[2:5]):
                raise BadInput(where, expected="an array of plain numbers", found="an array with fields")
    else:
        code = value
    if isinstance(code, Global):
        return dtype_of(code, where)
    if not isinstance(code, str) or not _PLAIN_DTYPE.fullmatch(code):
        raise BadInput(where, expected="an array of plain numbers (bool, integer, float)", found=f"dtype {str(code)[:40]!r}")
    dtype = np.dtype(code)
    return dtype.newbyteorder(order) if order else dtype


def _raw(value: Any, where: object) -> bytes:
    """Bytes as stored by protocol 3 and later, or spelled as latin-1 text by earlier ones."""
    if isinstance(value, Record) and value.path == "_codecs.encode" and value.args and isinstance(value.args[0], str):
        value = value.args[0]
    if isinstance(value, str):
        try:
            return value.encode("latin-1")
        except UnicodeEncodeError as error:
            raise BadInput(where, expected="the bytes of an array", found="other text") from error
    if isinstance(value, bytes | bytearray):
        return bytes(value)
    raise BadInput(where, expected="the bytes of an array", found=f"a {type(value).__name__}")


def _shape(value: Any, where: object) -> tuple[int, ...]:
    dims = [scalar_of(v, where) for v in value] if isinstance(value, tuple | list) else [value]
    if len(dims) > 8 or not all(isinstance(d, int) and not isinstance(d, bool) and d >= 0 for d in dims):
        raise BadInput(where, expected="the shape of an array", found=f"{str(value)[:60]}")
    return tuple(dims)


def array_of(value: Any, where: object) -> np.ndarray:
    """The array that a record stands for, in native byte order, as a copy.

    Raises BadInput for object arrays, structured arrays, and bytes that do not fill the shape exactly.
    """
    if isinstance(value, Record) and value.path in _RECONSTRUCT:
        if not isinstance(value.state, tuple) or len(value.state) != 5:
            raise BadInput(where, expected="an array with its content", found="one without")
        _, shape, dtype, fortran, data = value.state
    elif isinstance(value, Record) and value.path in _FROM_BUFFER and len(value.args) == 4:
        data, dtype, shape, order = value.args
        fortran = order == "F"
    elif isinstance(value, int | float) or (isinstance(value, Record) and value.path in _SCALAR):
        return np.asarray(scalar_of(value, where))
    elif isinstance(value, list | tuple) and all(isinstance(v, int | float) for v in value):
        return np.asarray(value)
    else:
        raise BadInput(where, expected="an array", found=f"{value!r}"[:80])
    kind, dims = dtype_of(dtype, where), _shape(shape, where)
    raw = _raw(data, where)
    if math.prod(dims) * kind.itemsize != len(raw):
        raise BadInput(where, expected=f"{math.prod(dims) * kind.itemsize} bytes for shape {dims}", found=f"{len(raw)}")
    array = np.frombuffer(raw, kind).reshape(dims, order="F" if fortran else "C")
    return np.array(array, dtype=kind.newbyteorder("="), order="C")


def scalar_of(value: Any, where: object) -> Any:
    """A Python number from a plain value, a pickled numpy scalar or an array of one entry."""
    if isinstance(value, Record) and value.path in _SCALAR and len(value.args) == 2:
        kind, raw = dtype_of(value.args[0], where), _raw(value.args[1], where)
        if len(raw) != kind.itemsize:
            raise BadInput(where, expected=f"{kind.itemsize} bytes for one {kind}", found=f"{len(raw)}")
        return np.frombuffer(raw, kind)[0].item()
    if isinstance(value, Record):
        array = array_of(value, where)
        if array.size != 1:
            raise BadInput(where, expected="one number", found=f"an array of shape {array.shape}")
        return array.reshape(-1)[0].item()
    return value
