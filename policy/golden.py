"""The golden rollout: what the reference did, step by step, so that any artifact can be held against it."""

from __future__ import annotations

import io
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from ..errors import BadInput

GoldenSource = Literal["environment", "random observations"]
MAX_GOLDEN_BYTES = 1 << 30


@dataclass(frozen=True, eq=False)
class Golden:
    """T recorded decisions of the float32 reference, self-fed: the state of step t+1 is the one that step t returned."""

    obs: np.ndarray
    """float32 [T, observation size], raw, as the environment gave it."""
    action: np.ndarray
    """continuous: float32 [T, action size]; discrete: int64 [T, 1]."""
    state: np.ndarray
    """float32 [T, S]: all state tensors concatenated in contract order, *before* the step; S = 0 if feed-forward."""
    start: np.ndarray
    """bool [T]: True where an episode starts and the state is reset."""
    source: GoldenSource
    """Where the observations come from."""

    def __len__(self) -> int:
        return len(self.obs)

    def to_bytes(self) -> bytes:
        """The golden.npz, with equal bytes for equal content (no timestamps)."""
        arrays = {
            "obs": self.obs.astype(np.float32),
            "action": self.action,
            "state": self.state.astype(np.float32),
            "start": self.start.astype(bool),
            "source": np.frombuffer(self.source.encode(), np.uint8),
        }
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, array in arrays.items():
                member = io.BytesIO()
                np.lib.format.write_array(member, np.ascontiguousarray(array), allow_pickle=False)
                archive.writestr(zipfile.ZipInfo(f"{name}.npy"), member.getvalue(), zipfile.ZIP_DEFLATED)
        return buffer.getvalue()

    @staticmethod
    def read(path: Path) -> Golden:
        """Read a golden.npz; sizes are bounded before allocation and no pickle is accepted."""
        try:
            with zipfile.ZipFile(path) as archive:
                total = sum(info.file_size for info in archive.infolist())
                if total > MAX_GOLDEN_BYTES:
                    raise BadInput(path, expected=f"at most {MAX_GOLDEN_BYTES >> 20} MiB unpacked", found=f"{total >> 20} MiB")
            with np.load(path, allow_pickle=False) as data:
                source = data["source"].tobytes().decode()
                if source not in ("environment", "random observations"):
                    raise BadInput(path, expected="a known source of observations", found=repr(source[:40]))
                golden = Golden(data["obs"], data["action"], data["state"], data["start"], source)  # type: ignore[arg-type]
        except (
            zipfile.BadZipFile,
            zlib.error,
            KeyError,
            ValueError,
            OSError,
            EOFError,
            MemoryError,
            NotImplementedError,
        ) as error:
            raise BadInput(path, expected="a golden rollout (golden.npz)", found=f"{error}") from error
        for name, array, rank, dtype in (
            ("obs", golden.obs, 2, np.float32),
            ("action", golden.action, 2, np.int64 if golden.action.dtype.kind == "i" else np.float32),
            ("state", golden.state, 2, np.float32),
            ("start", golden.start, 1, bool),
        ):
            if array.ndim != rank or array.dtype != dtype:
                raise BadInput(
                    path, expected=f"{name} as {np.dtype(dtype)} of {rank} dimensions", found=f"{array.dtype}{list(array.shape)}"
                )
        lengths = {len(a) for a in (golden.obs, golden.action, golden.state, golden.start)}
        if len(lengths) != 1 or not len(golden):
            raise BadInput(path, expected="arrays of one length ≥ 1", found=f"lengths {sorted(lengths)}")
        return golden
