"""Which format a checkpoint has, by its content; the file's name is never trusted."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from ...errors import BadInput, Unsupported
from .archive import Archive

Format = Literal["sb3", "torchscript", "onnx"]
EXPECTED = "a Stable-Baselines3 zip, a TorchScript archive or an ONNX file"
MAX_FILE_BYTES = 2 << 30
"""Larger checkpoints are refused before they are read."""
# Field numbers of onnx.ModelProto with their protobuf wire type (onnx/onnx.proto); 7 is the graph.
_MODEL_FIELDS = {1: 0, 2: 2, 3: 2, 4: 2, 5: 0, 6: 2, 7: 2, 8: 2, 14: 2, 20: 2, 25: 2, 26: 2}
_MAGICS = {
    b"\x89HDF": "an HDF5 file",
    b"\x1f\x8b": "a gzip file",
    b"\x7fELF": "a program",
    b"\x93NUMPY": "a numpy array",
    b"TFL3": "a TensorFlow Lite file",
    b"version https://git-lfs": "a Git LFS pointer, not the file itself (run: git lfs pull)",
    b"<": "an HTML or XML page, not a checkpoint",
}


def sniff(path: Path) -> Format:
    """The format of ``path``. Raises BadInput or Unsupported, saying what it is instead."""
    if path.is_dir():
        bundle = (path / "policy.json").is_file()
        found = "a Pilotfish policy, which needs no adoption" if bundle else "a folder"
        raise BadInput(path, expected=EXPECTED, found=found)
    if not path.is_file():
        raise BadInput(path, expected=EXPECTED, found="no such file")
    size = path.stat().st_size
    if not 0 < size <= MAX_FILE_BYTES:
        raise BadInput(path, expected=EXPECTED, found="an empty file" if not size else f"{size} bytes, more than is read")
    with path.open("rb") as stream:
        head = stream.read(64)
    if head.startswith(b"PK\x03\x04"):
        return _sniff_zip(path)
    if head[:1] == b"\x80" and head[1:2] <= b"\x05":
        raise Unsupported(
            path,
            expected=EXPECTED,
            found="a bare pickle (a torch file from before 1.6, or a Python object)",
            repair="Pickles are not read: save the policy with torch.jit.save or export it to ONNX",
        )
    for magic, found in _MAGICS.items():
        if head.startswith(magic) or (magic == b"TFL3" and head[4:8] == magic):
            raise BadInput(path, expected=EXPECTED, found=f"wrong magic: {found}")
    if _looks_like_onnx(path):
        return "onnx"
    raise BadInput(path, expected=EXPECTED, found=f"wrong magic {head[:8].hex(' ')}")


def _sniff_zip(path: Path) -> Format:
    archive = Archive(path)
    if {"data", "policy.pth"} <= archive.names:
        return "sb3"
    folder = archive.prefix("data.pkl")
    if folder is not None and any(name.startswith(f"{folder}code/") for name in archive.names):
        return "torchscript"
    if folder is not None:
        raise Unsupported(
            path,
            expected=EXPECTED,
            found="a torch.save file: tensors or objects without the code that uses them",
            repair="Save the policy with torch.jit.save(torch.jit.script(actor), …) or export it to ONNX",
        )
    raise BadInput(path, expected=EXPECTED, found=f"a zip of {', '.join(sorted(archive.names)[:4]) or 'nothing'}"[:120])


def _looks_like_onnx(path: Path) -> bool:
    """Walk the top-level protobuf fields of a ModelProto; BadInput where the file ends inside of one."""
    size, graph = path.stat().st_size, False
    with path.open("rb") as stream:

        def varint() -> int:
            value = 0
            for shift in range(0, 70, 7):
                byte = stream.read(1)
                if not byte:
                    raise EOFError
                value |= (byte[0] & 0x7F) << shift
                if byte[0] < 0x80:
                    return value
            raise ValueError

        seen = 0
        try:
            while stream.tell() < size:
                tag = varint()
                field, wire = tag >> 3, tag & 7
                if _MODEL_FIELDS.get(field) != wire:
                    return False
                length = varint()
                if wire == 2:
                    if stream.tell() + length > size:
                        raise EOFError
                    stream.seek(length, 1)
                graph |= field == 7
                seen += 1
        except ValueError:
            return False
        except EOFError as error:
            if seen:
                raise BadInput(
                    path, expected="a whole ONNX file", found=f"a truncated one of {size} bytes", repair="Copy it again"
                ) from error
            return False
    return graph
