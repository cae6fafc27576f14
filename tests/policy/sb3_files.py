"""Writes files as Stable-Baselines3 would, without it: zips, VecNormalize pickles."""

from __future__ import annotations

import base64
import io
import json
import pickle
import sys
import types
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import torch


def global_pickle(module: str, name: str) -> bytes:
    """A pickle that mentions module.name and does nothing else."""
    return b"\x80\x04" + b"".join(b"\x8c" + bytes([len(t)]) + t.encode() for t in (module, name)) + b"\x93."


def serialized(value: bytes) -> dict[str, str]:
    return {":type:": "whatever", ":serialized:": base64.b64encode(value).decode()}


def sb3_zip(
    path: Path, policy: tuple[str, str], tensors: dict[str, torch.Tensor], observation: Any, action: Any, **fields: Any
) -> Path:
    """A zip with data, policy.pth and a version; spaces are pickled Gymnasium spaces or raw bytes."""
    data: dict[str, Any] = {
        "policy_class": serialized(global_pickle(*policy)),
        "observation_space": serialized(observation if isinstance(observation, bytes) else pickle.dumps(observation)),
        "action_space": serialized(action if isinstance(action, bytes) else pickle.dumps(action)),
        "policy_kwargs": {},
        "num_timesteps": 1234,
        "seed": 5,
    } | fields
    weights = io.BytesIO()
    torch.save(tensors, weights)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data", json.dumps(data))
        archive.writestr("policy.pth", weights.getvalue())
        archive.writestr("_stable_baselines3_version", "2.3.2")
    return path


def vecnormalize_pickle(path: Path, mean: np.ndarray, var: np.ndarray, protocol: int = 4, **fields: Any) -> Path:
    """A pickle of a class that bears VecNormalize's name, as ``VecNormalize.save`` writes it."""
    import gymnasium

    normalize_name = "stable_baselines3.common.vec_env.vec_normalize"
    statistics_name = "stable_baselines3.common.running_mean_std"
    names = ["stable_baselines3", "stable_baselines3.common", "stable_baselines3.common.vec_env", normalize_name, statistics_name]
    VecNormalize = type("VecNormalize", (), {"__module__": normalize_name})
    RunningMeanStd = type("RunningMeanStd", (), {"__module__": statistics_name})
    modules = {name: types.ModuleType(name) for name in names}
    modules[normalize_name].VecNormalize = VecNormalize  # type: ignore[attr-defined]
    modules[statistics_name].RunningMeanStd = RunningMeanStd  # type: ignore[attr-defined]
    statistics = RunningMeanStd()
    statistics.__dict__ |= {"mean": mean, "var": var, "count": np.float64(1e4)}
    space = gymnasium.spaces.Box(-1.0, 1.0, (3,), np.float32)
    space.seed(3)  # its generator is pickled with it
    wrapper = VecNormalize()
    wrapper.__dict__ |= {
        "num_envs": 1,
        "observation_space": gymnasium.spaces.Box(-np.inf, np.inf, mean.shape, np.float64),
        "action_space": space,
        "norm_obs": True,
        "norm_obs_keys": None,
        "obs_rms": statistics,
        "clip_obs": 7.0,
        "epsilon": 1e-6,
        "returns": np.zeros(1),
        "render_mode": None,
    } | fields
    saved = {name: sys.modules.get(name) for name in names}
    sys.modules.update(modules)
    try:
        path.write_bytes(pickle.dumps(wrapper, protocol=protocol))
    finally:
        for name, module in saved.items():
            if module is None:
                del sys.modules[name]
            else:
                sys.modules[name] = module
    return path
