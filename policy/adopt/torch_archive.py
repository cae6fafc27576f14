"""torch.save and torch.jit.save archives read without torch: tensors as numpy arrays, objects as inert records.

The format is a zip: data.pkl describes, data/N holds the bytes of storage N (torch/serialization.py,
torch/csrc/jit/serialization/pickler.h). Nothing in it is executed.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np

from ...errors import BadInput, Unsupported
from .archive import Archive
from .unpickler import PERSISTENT, Allowed, Global, Record, read_pickle

MAX_TENSOR_VALUES = 1 << 27
"""A tensor of more values is refused before it is built (512 MiB of float32)."""
_STORAGES = {
    "FloatStorage": "f4",
    "DoubleStorage": "f8",
    "HalfStorage": "f2",
    "BFloat16Storage": "u2",
    "LongStorage": "i8",
    "IntStorage": "i4",
    "ShortStorage": "i2",
    "CharStorage": "i1",
    "ByteStorage": "u1",
    "BoolStorage": "?",
}
_TENSOR = "torch._utils._rebuild_tensor_v2"
_PARAMETER = "torch._utils._rebuild_parameter"
_NAMES = frozenset({_TENSOR, _PARAMETER, "collections.OrderedDict", *(f"torch.{name}" for name in _STORAGES)})


def is_torch_name(module: str, name: str) -> bool:
    """Whether module.name belongs to a state dict of plain tensors."""
    return f"{module}.{name}" in _NAMES


class TorchArchive:
    """The content of one archive: ``value`` is data.pkl as plain data, ``array`` turns its tensor records into numpy."""

    def __init__(self, archive: Archive, allowed: Allowed = is_torch_name, what: str = "a torch archive") -> None:
        self.archive, self.where = archive, archive.where
        folder = archive.prefix("data.pkl")
        if folder is None:
            raise BadInput(self.where, expected=f"{what} (a zip with data.pkl)", found="a zip without data.pkl")
        self.folder = folder
        order = archive.text(f"{folder}byteorder", 64).strip() if f"{folder}byteorder" in archive.names else "little"
        if order not in ("little", "big"):
            raise BadInput(self.where, expected="byte order little or big", found=repr(order[:20]))
        self._order: Literal["<", ">"] = "<" if order == "little" else ">"
        self.value = read_pickle(archive.read(f"{folder}data.pkl"), self.where, allowed, what)

    def is_tensor(self, value: Any) -> bool:
        """Whether a value of data.pkl is a tensor."""
        return isinstance(value, Record) and value.path in (_TENSOR, _PARAMETER)

    def array(self, value: Any, folder: str = "data/") -> np.ndarray:
        """A tensor record as a contiguous array: floats as float32, integers and booleans as stored.

        Raises BadInput where offset, shape or strides reach outside of the storage.
        """
        if isinstance(value, Record) and value.path == _PARAMETER and value.args:
            value = value.args[0]
        if not isinstance(value, Record) or value.path != _TENSOR or len(value.args) < 4:
            raise BadInput(self.where, expected="a tensor", found=f"{value!r}"[:80])
        storage, offset, size, stride = value.args[:4]
        data, kind = self._storage(storage, folder)
        if not _dims(size) or not _dims(stride) or len(size) != len(stride) or not _dims((offset,)):
            raise BadInput(self.where, expected="a tensor with a shape and strides", found=f"{size!r}, {stride!r}"[:80])
        count = math.prod(size)
        last = offset + sum((n - 1) * s for n, s in zip(size, stride, strict=True)) if count else 0
        if count > MAX_TENSOR_VALUES or (count and last >= len(data)):
            raise BadInput(
                self.where,
                expected=f"a tensor inside its storage of {len(data)} values",
                found=f"offset {offset}, shape {tuple(size)}, strides {tuple(stride)}",
            )
        view = np.lib.stride_tricks.as_strided(data[offset:], size, [s * data.itemsize for s in stride], writeable=False)
        if kind == "BFloat16Storage":
            return np.ascontiguousarray(view.astype(np.uint32) << 16).view(np.float32)
        return np.array(view, dtype=np.float32 if view.dtype.kind == "f" else view.dtype.newbyteorder("="), order="C")

    def _storage(self, record: Any, folder: str) -> tuple[np.ndarray, str]:
        """(the flat values of a storage, its kind); the announced length must be there."""
        key = record.args[0] if isinstance(record, Record) and record.maker is PERSISTENT else None
        if not isinstance(key, tuple) or len(key) < 5 or key[0] != "storage" or not isinstance(key[1], Global):
            raise BadInput(self.where, expected="a tensor storage", found=f"{record!r}"[:80])
        kind, name, length = key[1].name, key[2], key[4]
        if kind not in _STORAGES:
            raise Unsupported(self.where, expected=f"a storage out of {', '.join(_STORAGES)}", found=kind)
        if not isinstance(name, str) or not _dims((length,)):
            raise BadInput(self.where, expected="a storage with a name and a length", found=f"{name!r}, {length!r}"[:80])
        dtype = np.dtype(_STORAGES[kind]).newbyteorder(self._order)
        raw = self.archive.read(f"{self.folder}{folder}{name}")
        if len(raw) < length * dtype.itemsize:
            raise BadInput(self.where, expected=f"{length * dtype.itemsize} bytes in storage {name}", found=f"{len(raw)}")
        return np.frombuffer(raw, dtype, length), kind


def _dims(values: Any) -> bool:
    """Whether values are a short tuple of integers of at least 0."""
    return (
        isinstance(values, tuple)
        and len(values) <= 8
        and all(isinstance(v, int) and not isinstance(v, bool) and 0 <= v < 1 << 40 for v in values)
    )


def read_state_dict(archive: Archive, what: str) -> dict[str, np.ndarray]:
    """The tensors of a torch.save'd state dict by name. Legacy (pre 1.6, not zipped) files are refused in words."""
    loaded = TorchArchive(archive, what=what)
    value = loaded.value
    if isinstance(value, Record) and value.path == "collections.OrderedDict":
        value = {k: v for k, v in value.items if isinstance(k, str)} if all(isinstance(i, tuple) for i in value.items) else None
    if not isinstance(value, dict) or not all(isinstance(k, str) for k in value):
        raise BadInput(archive.where, expected=f"{what}: a dict of tensors", found=f"{loaded.value!r}"[:80])
    return {name: loaded.array(tensor) for name, tensor in value.items() if loaded.is_tensor(tensor)}
