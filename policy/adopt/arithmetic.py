"""Sums, products and quotients on the way through a foreign network, of signals and constants.

One operand is a constant, or the whole is an activation that exporters take apart (silu, softsign).
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np

from .signal import Magnitude, Misfit, Signal


def check_broadcast(signal: Signal, constant: np.ndarray) -> None:
    """Refuse a constant that would spread the signal over more values than it has."""
    if signal.shape:
        try:
            shape = np.broadcast_shapes(signal.shape, constant.shape)
        except ValueError as error:
            raise Misfit(f"a constant of shape {list(constant.shape)} beside {list(signal.shape)}") from error
        if math.prod(shape) != signal.width:
            raise Misfit(f"a constant of shape {list(constant.shape)} that spreads a value of shape {list(signal.shape)}")


def divide(numerator: Any, denominator: Any) -> Signal:
    """x / constant, or x / (1 + |x|) = softsign."""
    if isinstance(numerator, Signal) and isinstance(denominator, np.ndarray):
        if (denominator == 0).any():
            raise Misfit("a division by zero")
        check_broadcast(numerator, denominator)
        return numerator.affine(1 / denominator.astype(np.float64), 0.0)
    if isinstance(numerator, Signal) and isinstance(denominator, Magnitude) and denominator.plus_one:
        x = denominator.of
        if len(x.steps) == len(numerator.steps) and all(a is b for a, b in zip(x.steps, numerator.steps, strict=True)):
            return x.activation("softsign")
    raise Misfit("a quotient of two values that is no softsign")


def add(left: Any, right: Any, sign: float = 1.0) -> Any:
    """left + sign * right, with at most one signal."""
    if isinstance(left, Magnitude) and isinstance(right, np.ndarray) and (sign * right == 1).all() and not left.plus_one:
        return replace(left, plus_one=True)
    if isinstance(right, Magnitude) and sign == 1:
        return add(right, left)
    if isinstance(left, Signal) and isinstance(right, np.ndarray):
        check_broadcast(left, right)
        return left.affine(1.0, sign * right.astype(np.float64))
    if isinstance(left, np.ndarray) and isinstance(right, Signal):
        check_broadcast(right, left)
        return right.affine(sign, left.astype(np.float64))
    raise Misfit("a sum of two values that depend on the observation (a residual or a merge)")


def multiply(left: Any, right: Any) -> Signal:
    """A product with a constant, or x * sigmoid(x) = silu."""
    if isinstance(left, Signal) and isinstance(right, Signal):
        return left.times(right)
    if isinstance(left, np.ndarray) and isinstance(right, Signal):
        left, right = right, left
    if isinstance(left, Signal) and isinstance(right, np.ndarray):
        check_broadcast(left, right)
        return left.affine(right.astype(np.float64), 0.0)
    raise Misfit("a product of two values that is no layer")
