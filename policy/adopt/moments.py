"""A layer norm that an exporter took apart: mean, centered value, variance, standard deviation, quotient.

torch.onnx below opset 17 and tf2onnx write (x - mean(x)) / sqrt(mean((x - mean(x))^2) + epsilon) in single operators.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from .signal import Misfit, Signal

Kind = Literal["mean", "centered", "square", "variance", "deviation"]


@dataclass(frozen=True, eq=False)
class Moment:
    """A value on the way to a layer norm of ``of``."""

    kind: Kind
    """How far the way has been gone."""
    of: Signal
    """x"""
    epsilon: float = 0.0
    """What was added to the variance."""


def combine(op: str, left: Any, right: Any, axes: Any = None) -> Moment | Signal:
    """One step of the way. Raises Misfit where ``op`` on these values is none."""
    match op, left, right:
        case "ReduceMean", Signal(), _:
            _whole(left, axes)
            return Moment("mean", left)
        case "ReduceMean", Moment(kind="square"), _:
            _whole(left.of, axes)
            return Moment("variance", left.of)
        case "Sub", Signal(), Moment(kind="mean") if _same(left, right.of):
            return Moment("centered", left)
        case "Pow", Moment(kind="centered"), np.ndarray() if np.all(right == 2):
            return Moment("square", left.of)
        case "Mul", Moment(kind="centered"), Moment(kind="centered") if _same(left.of, right.of):
            return Moment("square", left.of)
        case "Add", Moment(kind="variance"), np.ndarray() if right.size == 1:
            return Moment("variance", left.of, left.epsilon + float(right.reshape(-1)[0]))
        case "Sqrt", Moment(kind="variance"), _:
            return Moment("deviation", left.of, left.epsilon)
        case "Div", Moment(kind="centered"), Moment(kind="deviation") if _same(left.of, right.of):
            return left.of.layer_norm(None, None, right.epsilon)
    raise Misfit("statistics of the observation that are no layer norm")


def _same(a: Signal, b: Signal) -> bool:
    return len(a.steps) == len(b.steps) and all(x is y for x, y in zip(a.steps, b.steps, strict=True))


def _whole(x: Signal, axes: Any) -> None:
    """A mean must run over the whole vector."""
    places = range(len(x.shape)) if axes is None else [int(a) % len(x.shape) for a in np.reshape(axes, -1)]
    if x.width != int(np.prod([x.shape[i] for i in places])):
        raise Misfit(f"a mean over a part of {list(x.shape)}")
