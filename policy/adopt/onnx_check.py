"""A recovered policy held against the original file in ONNX Runtime, on random observations."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...errors import BadInput, Unsupported, require
from ..bundle import Policy
from ..reference import Reference

STEPS = 40
RELATIVE_TOLERANCE = 1e-4


def check_against_onnxruntime(
    policy: Policy, model: bytes, where: str, observation: str, action: str, states: dict[str, str]
) -> None:
    """Step both side by side, states fed back; refuse the policy where it deviates by more than 1e-4 of the largest action.

    ``states`` maps state inputs to the outputs that return them. Choices are compared where they are clear.
    """
    ort = require("onnxruntime", "ort")
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    try:
        session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"], enable_fallback=0)
    except Exception as error:
        raise BadInput(where, expected="a model that ONNX Runtime loads", found=f"{error}"[:200]) from error
    feeds: dict[str, np.ndarray] = {
        i.name: np.zeros([d if isinstance(d, int) and d > 0 else 1 for d in i.shape], _dtype(i.type))
        for i in session.get_inputs()
    }
    rng = np.random.default_rng(0)
    reference = Reference(policy)
    normalizer = policy.contract.observation.normalizer
    wanted, found = [], []
    for _ in range(STEPS):
        draw = rng.standard_normal(policy.contract.observation.size)
        if normalizer:
            draw = np.asarray(normalizer.mean) + np.sqrt(np.asarray(normalizer.variance)) * draw
        feeds[observation] = draw.astype(np.float32).astype(feeds[observation].dtype).reshape(feeds[observation].shape)
        try:
            results = session.run([action, *states.values()], feeds)
        except Exception as error:
            raise BadInput(where, expected="a model that runs with batch 1", found=f"{error}"[:200]) from error
        for name, value in zip(states, results[1:], strict=True):
            if value.size != feeds[name].size:
                raise BadInput(
                    where, expected=f"{name} of shape {list(feeds[name].shape)} returned", found=f"{list(value.shape)}"
                )
            feeds[name] = value.reshape(feeds[name].shape)
        wanted.append(_action(results[0], policy))
        found.append(reference.act(draw.astype(np.float32)))
    _compare(np.asarray(wanted, np.float64), np.asarray(found, np.float64), policy, where)


def _dtype(name: str) -> Any:
    return {"tensor(double)": np.float64, "tensor(float16)": np.float16}.get(name, np.float32)


def _action(result: np.ndarray, policy: Policy) -> np.ndarray:
    """The foreign action as ours: probabilities become the index of the largest."""
    flat = np.asarray(result).reshape(-1)
    if policy.contract.action.kind == "discrete" and flat.size > 1:
        return np.array([flat.argmax()])
    return flat


def _compare(wanted: np.ndarray, found: np.ndarray, policy: Policy, where: str) -> None:
    if wanted.shape != found.shape or not np.isfinite(wanted).all():
        raise BadInput(where, expected=f"finite actions of shape {found.shape[1:]}", found=f"shape {wanted.shape[1:]} or NaN")
    if policy.contract.action.kind == "discrete":
        agreement = float((wanted == found).mean())
        if agreement < 0.95:  # a rare tie of two choices may fall either way
            raise Unsupported(where, expected="the choices of ONNX Runtime", found=f"{agreement:.0%} of them recovered")
        return
    deviation = float(np.abs(wanted - found).max() / max(np.abs(wanted).max(), 1e-6))
    if deviation > RELATIVE_TOLERANCE:
        raise Unsupported(
            where,
            expected=f"the actions of ONNX Runtime within {RELATIVE_TOLERANCE:g} (relative)",
            found=f"a deviation of {deviation:.2g}",
            repair="Please report this file: its graph was understood wrongly",
        )
