"""Checkpoints: the whole state of a run as plain data, written whole or not at all, read without executing anything.

Resuming is exact: on the CPU, a run that was interrupted and resumed ends with the very bits of one that was not.
Tensors, optimizer moments, running statistics and every random stream are stored; the environments are brought back
by replaying each episode's actions from its stored random stream (:meth:`VectorEnv.state`).
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from .. import sealed
from ..errors import BadInput

FORMAT = 2
_ARRAY = "numpy array as tensor"


def checkpoint_path(run_folder: Path, digest: str) -> Path:
    """Where a run of these settings keeps its checkpoint: other settings never overwrite it."""
    return run_folder / f"checkpoint-{digest[:12]}.pt"


def save_checkpoint(path: Path, digest: str, state: Mapping[str, Any]) -> None:
    """Write ``state`` (dicts, lists, tuples, numbers, text, tensors, numpy arrays) for settings of this ``digest``."""
    inner = _dump(_pack(state))
    # torch does not check what it reads: one flipped bit would train on, wrongly and unseen.
    outer = {"format": FORMAT, "settings": digest, "sha256": sealed.sha256_bytes(inner)}
    sealed.write_atomic(path, _dump(outer | {"state": torch.frombuffer(bytearray(inner), dtype=torch.uint8)}))


def _dump(value: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer)
    return buffer.getvalue()


def load_checkpoint(path: Path, digest: str) -> dict[str, Any] | None:
    """The state stored at ``path``; None where there is no file. BadInput if it is damaged or of other settings."""
    if not path.exists():
        return None
    repair = f"Delete {path.name} to train afresh"
    try:
        data = torch.load(path, map_location="cpu", weights_only=True)
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise BadInput(path, expected=f"a checkpoint of format {FORMAT}", found="something else", repair=repair)
        if data["settings"] != digest:
            raise BadInput(path, expected="a checkpoint of these settings", found="one of others", repair=repair)
        inner = data["state"].numpy().tobytes()
        if sealed.sha256_bytes(inner) != data["sha256"]:
            raise ValueError("its content does not have its own sha256")
        return _unpack(torch.load(io.BytesIO(inner), map_location="cpu", weights_only=True))
    except (RuntimeError, pickle.UnpicklingError, EOFError, KeyError, ValueError, AttributeError, OSError) as error:
        reason = str(error).partition("\n")[0]
        raise BadInput(path, expected="a whole checkpoint", found=f"unreadable: {reason}", repair=repair) from error


def _pack(value: Any) -> Any:
    """numpy arrays become tagged tensors: the weights-only reader takes tensors and plain data, nothing else."""
    if isinstance(value, np.ndarray):
        return {_ARRAY: torch.from_numpy(np.ascontiguousarray(value))}
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, Mapping):
        return {key: _pack(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_pack(item) for item in value)
    return value


def _unpack(value: Any) -> Any:
    if isinstance(value, dict):
        if set(value) == {_ARRAY}:
            return value[_ARRAY].numpy()
        return {key: _unpack(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(_unpack(item) for item in value)
    return value
