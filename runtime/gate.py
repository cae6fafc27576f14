"""The gate: whether a policy keeps enough of its reference's return, whatever the sign of that return."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..errors import BadInput
from .statistics import Interval, bootstrap, difference, mean, ratio


@dataclass(frozen=True)
class Comparison:
    """Artifact against reference, episode by episode on the same seeds."""

    mean: Interval
    """Mean return of the artifact."""
    reference: Interval
    """Mean return of the reference."""
    difference: Interval
    """Mean of the paired differences, artifact minus reference."""
    retained: Interval | None
    """Ratio of the mean returns; None where it means nothing (``no_ratio`` says why)."""
    no_ratio: str
    """Why there is no ratio; empty where there is one."""
    scale: float
    """What the gate measures a drop by: |mean reference return|, or the reference's spread where its sign is unsure."""


def compare(returns: np.ndarray, reference: np.ndarray, seed: int = 0) -> Comparison:
    """Compare returns float [n] with the reference's [n], paired by position.

    A ratio is reported only where the whole interval of the reference's mean lies above zero. Costs (Reacher, Pendulum:
    returns below zero) have none: -5 against -4 is no "125 % kept"; there, the paired difference decides.
    """
    pairs = np.stack([returns, reference], axis=1).astype(np.float64)
    ours, theirs = bootstrap(pairs[:, :1], mean, seed=seed), bootstrap(pairs[:, 1:], mean, seed=seed)
    low, high = (theirs.value if end is None else end for end in (theirs.low, theirs.high))
    if low > 0:
        retained, reason = bootstrap(pairs, ratio, seed=seed), ""
    else:
        retained = None
        sign = "is negative" if high < 0 else "does not lie clearly above zero"
        reason = f"the reference's mean return {sign}, so a ratio means nothing: see the difference"
    scale = abs(theirs.value)
    if low <= 0 <= high:
        scale = max(scale, float(pairs[:, 1].std()))
    return Comparison(ours, theirs, bootstrap(pairs, difference, seed=seed), retained, reason, scale)


def passes(comparison: Comparison, gate: float | None) -> bool:
    """True if the mean return fell by at most (1 - gate) of the reference's scale; always True without a gate.

    For a positive reference this says "retained >= gate"; for a negative one, "the cost grew by at most (1 - gate)".
    The point estimate decides, and its interval is reported beside it: with few episodes an interval rule
    would reject identical policies for their episodes' luck, or ask for hundreds of episodes.
    """
    if gate is None:
        return True
    # A hair of tolerance, so that a retained share that equals the gate is not lost to rounding.
    return comparison.difference.value >= -(1 - gate) * comparison.scale - 1e-9 * comparison.scale


def checked_gate(gate: float | None) -> float | None:
    """The gate, if it is a share between 0 and 1 (97 % is 0.97)."""
    if gate is not None and not 0 <= gate <= 1:
        raise BadInput("gate", expected="a share between 0 and 1, such as 0.97", found=f"{gate}")
    return gate
