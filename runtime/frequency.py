"""The frequency-averaged score: what a policy earns on average over a range of decision frequencies.

Patel and Siegelmann (ICLR 2025, arXiv 2410.08979) introduce it: the area under the curve of return against decision frequency.
What that is exactly is taken from their evaluation code (github.com/dee0512/Sequence-Reinforcement-Learning, scripts/eval_sac.py
and notebooks/table2.ipynb): episodes are flown with decisions 1, 2, 4, 6 … 30 steps apart, the mean returns are integrated
over that number of steps by the trapezoidal rule, and the area is divided by (highest return of the task) x 30; for Pendulum and
Reacher, whose returns are negative, 1550 and 65 are added to every return first. A policy that never loses anything has 29/30.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from ..figure import Figure, Source
from ..policy.scene import Scene
from .statistics import SPREAD, Interval, bootstrap

if TYPE_CHECKING:
    import gymnasium

STEPS = (1, *range(2, 31, 2))
"""Steps between two decisions, the authors' own."""
SCALES: dict[str, tuple[float, float]] = {
    "Pendulum": (-1550, -200),
    "LunarLanderContinuous": (0, 300),
    "Hopper": (0, 3600),
    "Walker2d": (0, 5000),
    "Ant": (0, 6500),
    "HalfCheetah": (0, 17000),
    "Humanoid": (0, 10500),
    "InvertedPendulum": (0, 1000),
    "InvertedDoublePendulum": (0, 9400),
    "Reacher": (-65, -5),
    "Swimmer": (0, 350),
}
"""Task -> returns that count as 0 and as 1: the authors' (MAX_REWARDS in their notebook, and what they add), for the v2 tasks and
Pendulum-v1. Later versions of a task do not pay exactly the same."""

Fly = Callable[["gymnasium.Env", int], float]
"""Environment, seed -> return of one episode."""


def curve(
    scene: str | Scene,
    make: Callable[[Scene, ExitStack], gymnasium.Env],
    fly: Fly,
    seeds: list[int],
    done: Callable[[int], None],
) -> np.ndarray:
    """Returns, float64 [len(seeds), len(STEPS)]: every seed at every decision frequency.

    Of the k actions of a decision the first ones are taken until the next decision is due; where they do not last, the last one
    is held. ``done`` is told how many episodes have been flown.
    """
    full = scene if isinstance(scene, Scene) else Scene(scene)
    table = np.zeros((len(seeds), len(STEPS)))
    for column, steps in enumerate(STEPS):
        with ExitStack() as stack:
            env = make(replace(full, decision_steps=steps), stack)
            for row, seed in enumerate(seeds):
                table[row, column] = fly(env, seed)
                done(column * len(seeds) + row + 1)
    return table


def scale_of(env_id: str) -> tuple[float, float] | None:
    """The authors' scale of a task; None where they have none."""
    return SCALES.get(re.sub(r"-v\d+$", "", env_id))


def area(means: np.ndarray) -> np.ndarray:
    """Mean returns [..., len(STEPS)] -> the area under them over the steps between decisions, by the trapezoidal rule [...]."""
    widths = np.diff(STEPS)
    return ((means[..., 1:] + means[..., :-1]) / 2 * widths).sum(axis=-1)


def frequency_figures(
    table: np.ndarray, env_id: str, control_hz: float | None, *, source: Source, device: str
) -> tuple[dict[str, Figure], list[dict[str, Any]]]:
    """(figures, one entry per decision frequency) of the returns [episodes, len(STEPS)].

    ``fas``: the score on the authors' scale, None where they have none for the task. ``fas_return``: the same average in the
    task's own unit, area / (30 - 1). Intervals resample the seeds, each with its whole curve.
    """
    episodes, width = len(table), STEPS[-1] - STEPS[0]

    def figure(interval: Interval, unit: str, note: str) -> Figure:
        spread = SPREAD if interval.low is not None else ""
        notes = "; ".join(filter(None, (note, interval.note)))
        return Figure(interval.value, unit, source, episodes, interval.low, interval.high, spread, device, notes)

    every = f"decisions {STEPS[0]} to {STEPS[-1]} steps apart"
    figures = {"fas_return": figure(bootstrap(table, lambda means: area(means) / width), "return", f"mean over {every}")}
    scale = scale_of(env_id)
    if scale is None:
        figures["fas"] = Figure(None, "score", source, episodes, device=device, note=f"no scale is published for {env_id}")
    else:
        low, high = scale
        score = bootstrap(table, lambda means: area(means - low) / ((high - low) * STEPS[-1]))
        figures["fas"] = figure(score, "score", f"{every}; returns of {low:g} and {high:g} count as 0 and 1 (arXiv 2410.08979)")
    points = []
    for column, steps in enumerate(STEPS):
        interval = bootstrap(table[:, column])
        hz = None if control_hz is None else control_hz / steps
        point = {"steps": steps, "decision_hz": hz, "return": interval.value, "low": interval.low, "high": interval.high}
        points.append(point | {"returns": table[:, column].tolist()})
    return figures, points
