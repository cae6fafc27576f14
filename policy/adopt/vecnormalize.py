"""Stable-Baselines3's VecNormalize pickle -> the contract's normalizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from ...errors import BadInput, Unsupported
from ..contract import Normalizer
from .numpy_records import array_of, is_numpy_name, scalar_of
from .unpickler import MAX_PICKLE_BYTES, Record, read_pickle

_PLAIN_NAMES = frozenset({"collections.OrderedDict", "collections.deque", "copyreg._reconstructor", "builtins.object"})
_LIBRARIES = ("gym.spaces.", "gymnasium.spaces.", "numpy.random.", "stable_baselines3.common.")
_WHAT = "a VecNormalize pickle of Stable-Baselines3"


def allowed(module: str, name: str) -> bool:
    """Names that Stable-Baselines3, gym, gymnasium and numpy's random states put into their pickles."""
    return (
        is_numpy_name(module, name)
        or f"{module}.{name}" in _PLAIN_NAMES
        or (name.isidentifier() and f"{module}.".startswith(_LIBRARIES))
    )


def read_vecnormalize(path: Path, size: int) -> tuple[Normalizer | None, str]:
    """(normalizer, where it came from) for observations of ``size`` entries.

    z = clip((x - mean) / sqrt(var + epsilon), ±clip_obs): ``VecNormalize._normalize_obs`` of Stable-Baselines3.
    None where the file says that observations are not normalized (norm_obs false).
    """
    if not path.is_file():
        raise BadInput(path, expected=_WHAT, found="a folder" if path.is_dir() else "no such file")
    if path.stat().st_size > MAX_PICKLE_BYTES:
        raise BadInput(path, expected=f"{_WHAT} of at most {MAX_PICKLE_BYTES >> 20} MiB", found=f"{path.stat().st_size} bytes")
    record = read_pickle(path.read_bytes(), path, allowed, _WHAT)
    if not isinstance(record, Record) or not record.path.endswith(".VecNormalize") or not isinstance(record.state, dict):
        raise BadInput(path, expected=_WHAT, found=f"a pickle of {getattr(record, 'path', type(record).__name__)}")
    if not scalar_of(record.field("norm_obs", True), path):
        return None, f"{path.name}: norm_obs is false, observations are not normalized"
    statistics = record.field("obs_rms")
    if isinstance(statistics, dict) or (isinstance(statistics, Record) and statistics.path.endswith("OrderedDict")):
        raise Unsupported(path, expected="one running mean of a vector observation", found="statistics of a Dict observation")
    if not isinstance(statistics, Record):
        raise BadInput(path, expected="running statistics (obs_rms)", found="none")
    mean, variance = _vector(statistics, "mean", size, path), _vector(statistics, "var", size, path)
    if (variance < 0).any():
        raise BadInput(path, expected="a variance of at least 0", found=f"{variance.min():.3g}")
    epsilon, clip = (_number(record, key, path) for key in ("epsilon", "clip_obs"))
    normalizer = Normalizer(
        mean=tuple(mean.tolist()),
        variance=tuple(variance.tolist()),
        epsilon=1e-8 if epsilon is None else epsilon,
        epsilon_inside_sqrt=True,
        clip=clip if clip is not None and np.isfinite(clip) else None,
    )
    return normalizer, f"VecNormalize pickle {path.name}"


def _vector(statistics: Record, name: str, size: int, path: Path) -> np.ndarray:
    """mean or var as float64 [size]."""
    array = array_of(statistics.field(name), path).astype(np.float64).reshape(-1)
    if array.size != size:
        raise BadInput(
            path,
            expected=f"{name} of {size} entries, as the policy observes",
            found=f"{array.size}",
            repair="Pass the normalizer that was saved with this checkpoint",
        )
    if not np.isfinite(array).all():
        raise BadInput(path, expected=f"finite numbers in {name}", found="NaN or infinite")
    return array


def _number(record: Record, name: str, path: Path) -> float | None:
    value: Any = scalar_of(record.field(name), path)
    if value is None:
        return None
    if not isinstance(value, int | float) or not value >= 0:
        raise BadInput(path, expected=f"{name} as a number of at least 0", found=f"{value!r}"[:60])
    return float(value)
