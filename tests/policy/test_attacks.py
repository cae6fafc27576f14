"""Demonstrated abuses: files that would execute code, escape, or fill the memory if they were believed."""

from __future__ import annotations

import base64
import io
import json
import os
import pickle
import struct
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pilotfish.errors import BadInput
from pilotfish.policy.adopt import adopt
from pilotfish.policy.adopt.archive import Archive
from pilotfish.policy.adopt.numpy_records import array_of
from pilotfish.policy.adopt.torch_archive import read_state_dict
from pilotfish.policy.adopt.unpickler import read_pickle
from pilotfish.policy.adopt.vecnormalize import allowed, read_vecnormalize


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


def call(module: str, name: str, *args: str, protocol: int = 4) -> bytes:
    """module.name(*args) as a pickle, by STACK_GLOBAL (4) or GLOBAL (2)."""
    target = text(module) + text(name) + b"\x93" if protocol == 4 else f"c{module}\n{name}\n".encode()
    return b"\x80" + bytes([protocol]) + target + b"(" + b"".join(map(text, args)) + b"tR."


def touch(canary: Path) -> str:
    return f"open({str(canary)!r}, 'w').close()"


class Evil:
    """Pickles as a call, the ordinary way."""

    def __init__(self, function: Any, *args: Any) -> None:
        self.call = function, args

    def __reduce__(self) -> Any:
        return self.call


def attacks(canary: Path) -> dict[str, bytes]:
    """Pickles that create ``canary`` when they are executed by Python's unpickler, or ask for what they should not."""
    code, shell = touch(canary), f"touch {canary}"
    return {
        "os.system": pickle.dumps(Evil(os.system, shell)),
        "eval": pickle.dumps(Evil(eval, code)),
        "exec protocol 0": pickle.dumps(Evil(exec, code), protocol=0),
        "posix.system by STACK_GLOBAL": call("posix", "system", shell),
        "posix.system by GLOBAL": call("posix", "system", shell, protocol=2),
        "subprocess": call("subprocess", "getoutput", shell),
        "importlib": call("importlib", "import_module", "antigravity"),
        "runpy": call("runpy", "run_path", str(canary)),
        "numpy.load": call("numpy", "load", str(canary)),
        "numpy's own eval": call("numpy.testing._private.utils", "runstring", code, "{}"),
        "dotted name below an allowed module": call("numpy", "os.system", shell),
        "dotted name below an allowed prefix": call("gym.spaces.box", "np.os.system", shell),
        "builtins.getattr": call("builtins", "getattr", "x", "__class__"),
        "builtins.__import__": call("builtins", "__import__", "antigravity"),
        "INST opcode": b"(" + text(shell) + b"iposix\nsystem\n.",
        "OBJ opcode": b"(cposix\nsystem\n" + text(shell) + b"o.",
        "cloudpickle function": call("cloudpickle.cloudpickle", "_make_function", "x"),
        "extension registry": b"\x80\x02\x82\x01.",
        "call of a text": b"\x80\x04" + text("os.system") + b"(" + text(shell) + b"tR.",
        "out-of-band buffer": b"\x80\x05\x97.",
    }


@pytest.mark.parametrize("name", attacks(Path("x")).keys())
def test_no_pickle_executes_anything(name: str, tmp_path: Path) -> None:
    canary, file = tmp_path / "canary", tmp_path / "v.pkl"
    file.write_bytes(attacks(canary)[name])
    with pytest.raises(BadInput, match="refused"):
        read_vecnormalize(file, 3)
    assert not canary.exists()


@pytest.mark.parametrize("name", ["os.system", "eval"])
def test_the_attacks_are_real(name: str, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    pickle.loads(attacks(canary)[name])
    assert canary.exists()


def test_the_refusal_names_what_was_asked_for(tmp_path: Path) -> None:
    (tmp_path / "v.pkl").write_bytes(pickle.dumps(Evil(os.system, "true")))
    with pytest.raises(BadInput, match=r"refused: the pickle asks for posix\.system"):
        read_vecnormalize(tmp_path / "v.pkl", 3)


def sb3_with(path: Path, payload: bytes, field: str) -> Path:
    """A zip whose ``data`` carries the payload in one field."""
    data = {field: {":type:": "x", ":serialized:": base64.b64encode(payload).decode()}}
    if field != "policy_class":
        module, name = "stable_baselines3.common.policies", "ActorCriticPolicy"
        policy = b"\x80\x04" + text(module) + text(name) + b"\x93."
        data["policy_class"] = {":type:": "x", ":serialized:": base64.b64encode(policy).decode()}
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data", json.dumps(data))
        archive.writestr("policy.pth", b"")
    return path


@pytest.mark.parametrize("field", ["policy_class", "policy_kwargs", "observation_space"])
def test_no_field_of_a_zip_executes_anything(field: str, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    for payload in attacks(canary).values():
        with pytest.raises(BadInput, match="refused"):
            adopt(sb3_with(tmp_path / "p.zip", payload, field), normalizer=Path("none"))
    assert not canary.exists()


@pytest.mark.parametrize("member", ["code", "plain"])
def test_no_torch_archive_executes_anything(member: str, tmp_path: Path) -> None:
    canary, path = tmp_path / "canary", tmp_path / "p.pt"
    for payload in attacks(canary).values():
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("p/data.pkl", payload)
            if member == "code":
                archive.writestr("p/code/__torch__.py", f"{touch(canary)}\nclass M(Module):\n  pass\n")
        with pytest.raises(BadInput):
            adopt(path)
        with pytest.raises(BadInput, match="refused"):
            read_state_dict(Archive(path), "a state dict")
    assert not canary.exists()


BOMBS = {
    "memo index of 4 billion": b"\x80\x04Nr\xff\xff\xff\xff.",
    "text of 8 exabytes": b"\x80\x04\x8d" + struct.pack("<Q", 1 << 62) + b"x.",
    "bytearray of a terabyte": b"\x80\x05\x96" + struct.pack("<Q", 1 << 40) + b"x.",
    "endless program": b"\x80\x04" + b"N0" * 1_500_000 + b"N.",
    "doubled and doubled list": b"\x80\x04]\x94" + b"(h\x00h\x00e\x94" * 1000 + b".",
    "deep nesting": b"\x80\x04" + b"]" * 100_000 + b"a" * 99_999 + b".",
    "no end": b"\x80\x04N",
    "empty stack": b"\x80\x040.",
    "mark left over": b"\x80\x04(.",
    "number of many digits": b"I" + b"9" * 100_000 + b"\n.",
}


@pytest.mark.parametrize("name", BOMBS)
def test_no_pickle_fills_the_memory(name: str) -> None:
    import resource

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        read_pickle(BOMBS[name], "bomb", allowed, "a pickle")
    except BadInput as error:
        assert "expected a pickle" in str(error)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kilobytes


def array_pickle(shape: bytes, dtype: bytes, data: bytes) -> bytes:
    """numpy.core.multiarray._reconstruct, then a state of the given shape, dtype and bytes."""
    name = text("numpy.core.multiarray") + text("_reconstruct") + b"\x93"
    made = name + b"(" + text("numpy") + text("ndarray") + b"\x93(K\x00t" + b"C\x01btR"
    kind = text("numpy") + text("dtype") + b"\x93(" + text(dtype.decode()) + b"\x89\x88tR"
    return b"\x80\x04" + made + b"(K\x01" + shape + kind + b"\x89" + data + b"tb."


@pytest.mark.parametrize(
    ("shape", "dtype", "data", "said"),
    [
        (b"(J\xff\xff\xff\x7fJ\xff\xff\xff\x7ft", b"f8", b"C\x01x", "bytes for shape"),
        (b"(K\x01t", b"O8", b"]", "plain numbers"),
        (b"(K\x01t", b"V8", b"C\x08" + bytes(8), "plain numbers"),
        (b"(J\xff\xff\xff\xfft", b"f8", b"C\x08" + bytes(8), "shape"),
        (b"(K\x02t", b"f8", b"C\x08" + bytes(8), "16 bytes"),
        (b"(K\x01t", b"f8", b"]", "bytes of an array"),
    ],
)
def test_no_array_is_larger_than_its_bytes(shape: bytes, dtype: bytes, data: bytes, said: str) -> None:
    record = read_pickle(array_pickle(shape, dtype, data), "array", allowed, "an array")
    with pytest.raises(BadInput, match=said):
        array_of(record, "array")


def test_the_array_pickle_of_these_attacks_is_a_real_one() -> None:
    record = read_pickle(array_pickle(b"(K\x02t", b"f8", b"C\x10" + np.arange(2.0).tobytes()), "array", allowed, "an array")
    assert array_of(record, "array").tolist() == [0.0, 1.0]


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = tmp_path / "p.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("data", "w", force_zip64=True) as stream:
            for _ in range(40):
                stream.write(bytes(1 << 20))
        archive.writestr("policy.pth", b"")
    with pytest.raises(BadInput, match="at most"):
        adopt(path)


def tensor_archive(path: Path, offset: int, size: tuple[int, ...], stride: tuple[int, ...], count: int) -> Path:
    """A torch.save archive with one tensor over a storage of four floats that announces ``count``."""

    def integer(value: int) -> bytes:
        return b"\x8a\x08" + struct.pack("<q", value)

    def numbers(values: tuple[int, ...]) -> bytes:
        return b"(" + b"".join(integer(v) for v in values) + b"t"

    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + integer(count) + b"tQ"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + integer(offset) + numbers(size) + numbers(stride) + b"\x89}tR"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("p/data.pkl", b"\x80\x02}(" + text("w") + tensor + b"u.")
        archive.writestr("p/data/0", np.arange(4, dtype=np.float32).tobytes())
    return path


def test_a_tensor_inside_of_its_storage_is_read(tmp_path: Path) -> None:
    tensors = read_state_dict(Archive(tensor_archive(tmp_path / "a.pt", 1, (3,), (1,), 4)), "a state dict")
    assert tensors["w"].tolist() == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("offset", "size", "stride", "count"),
    [
        (2, (3,), (1,), 4),
        (0, (2, 3), (3, 1), 4),
        (-1, (2,), (1,), 4),
        (0, (2,), (-1,), 4),
        (0, (1 << 20, 1 << 20), (0, 0), 4),
        (0, (2,), (1 << 39,), 4),
        (0, (8,), (1,), 8),
        (0, (4,), (1, 1), 4),
    ],
)
def test_no_tensor_reaches_outside_of_its_storage(
    offset: int, size: tuple[int, ...], stride: tuple[int, ...], count: int, tmp_path: Path
) -> None:
    with pytest.raises(BadInput):
        read_state_dict(Archive(tensor_archive(tmp_path / "a.pt", offset, size, stride, count)), "a state dict")


@pytest.mark.parametrize("seed", range(4))
def test_random_bytes_are_refused_in_words(seed: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(seed)
    for head in (b"", b"PK\x03\x04", b"\x80\x04", b"\x08\x08\x12\x04"):
        (tmp_path / "x").write_bytes(head + rng.bytes(400))
        with pytest.raises(BadInput, match="expected"):
            adopt(tmp_path / "x")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "empty"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5"),
        (b"<!DOCTYPE html>", "HTML"),
        (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
        (b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.", "bare pickle"),
        (b"hello", "wrong magic"),
    ],
)
def test_a_file_of_another_kind_is_named(content: bytes, said: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(BadInput, match=said):
        adopt(tmp_path / "x")


def test_missing_file_folder_and_bare_torch_save(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(BadInput, match="no such file"):
        adopt(tmp_path / "nothing.zip")
    with pytest.raises(BadInput, match="a folder"):
        adopt(tmp_path)
    buffer = io.BytesIO()
    torch.save({"weight": torch.zeros(2)}, buffer)
    (tmp_path / "w.pt").write_bytes(buffer.getvalue())
    with pytest.raises(BadInput, match=r"torch\.jit\.save"):
        adopt(tmp_path / "w.pt")
