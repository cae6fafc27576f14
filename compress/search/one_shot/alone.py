"""How far one-shot returns can be trusted: the same architectures trained alone, and whether both put them in the same order.

"How to train your super-net" (Yu et al. 2020, arXiv 2003.04276): a one-shot search is worth what its rank correlation is worth,
so that is measured and reported before anybody relies on it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from .survey import Surveyed, flights

if TYPE_CHECKING:
    from ....train.config import PPOConfig

RESAMPLES = 2_000
"""Of the bootstrap over architectures."""
MAX_STEPS = 100_000
"""Of an episode of random actions, where the task knows no end."""
SMALL = 1_000
"""Weights up to which an architecture counts as small."""


@dataclass
class Alone:
    """One architecture, trained alone with the steps that the family had together."""

    name: str
    weights: int
    one_shot: float
    """Mean return as the hypernetwork gives it."""
    alone: float
    """Mean return of the policies trained alone, in the same episodes."""
    by_seed: list[float] = field(default_factory=list)
    """The mean return of each of them: one per seed of the training."""


@dataclass
class Agreement:
    """How far the two orders agree."""

    trained: list[Alone]
    spearman: float | None
    """Rank correlation; None: fewer than three architectures, or all alike."""
    low: float | None
    high: float | None
    """95 % bootstrap interval over architectures."""
    small_share: float | None
    """Of architectures with at most :data:`SMALL` weights: the median of gain one-shot / gain alone, each over ``floor``."""
    floor: float
    """Mean return of random actions: what a return is counted from."""
    seeds: int = 1
    """Trainings alone, each with a seed of its own, behind every architecture's return."""
    among_seeds: float | None = None
    """Rank correlation of one seed's returns alone with the mean of the others', averaged over the seeds: how well one
    training alone of each architecture would have told the order."""

    def data(self) -> dict[str, Any]:
        """As JSON values."""
        return asdict(self)


def train_alone(
    config: PPOConfig, picked: list[Surveyed], episodes: int, folder: Path, told: Callable[[str], None], seeds: int = 1
) -> list[Alone]:
    """Train each of ``picked`` by itself, ``seeds`` times, with the settings and steps of ``config``; goes on where it was."""
    from ....train.run import train

    rows = []
    with flights(config.scene, config.seed, episodes) as fly:
        for number, one in enumerate(picked, 1):
            returns = []
            for seed in range(config.seed, config.seed + seeds):
                told(f"training {number} of {len(picked)} alone: {one.name}, seed {seed}")
                own = dataclasses.replace(
                    config, one_shot=None, hidden=one.hidden, activation=one.activation, seed=seed,  # type: ignore[arg-type]
                )  # fmt: skip
                again = "" if seed == config.seed else f"-seed-{seed}"
                returns.append(float(fly(train(own, folder / f"{one.name}{again}", progress=False)).mean()))
            rows.append(Alone(one.name, one.weights, one.mean, float(np.mean(returns)), returns))
    return rows


def agreement(rows: list[Alone], floor: float) -> Agreement:
    """Spearman's rank correlation with its interval, and what small ones reach of their return alone."""
    one_shot, alone = (np.array([getattr(row, side) for row in rows]) for side in ("one_shot", "alone"))
    shares = [
        (row.one_shot - floor) / (row.alone - floor) for row in rows if row.weights <= SMALL and row.alone > floor
    ]  # fmt: skip
    small = float(np.median(shares)) if shares else None
    seeds = len(rows[0].by_seed) or 1 if rows else 1
    if len(rows) < 3 or not (np.ptp(one_shot) and np.ptp(alone)):
        return Agreement(rows, None, None, None, small, floor, seeds)
    index = np.random.default_rng(0).integers(len(rows), size=(RESAMPLES, len(rows)))
    drawn = _correlations(one_shot[index], alone[index])
    low, high = (float(edge) for edge in np.nanquantile(drawn, (0.025, 0.975)))
    whole = float(_correlations(one_shot[None], alone[None])[0])
    return Agreement(rows, whole, low, high, small, floor, seeds, _among([row.by_seed for row in rows]))


def _among(returns: list[list[float]]) -> float | None:
    """Of returns [architectures][seeds]: each seed's rank correlation with the mean of the others, averaged; None: one seed."""
    by_seed = np.array(returns).T
    if len(by_seed) < 2:
        return None
    others = (by_seed.sum(0) - by_seed) / (len(by_seed) - 1)
    found = _correlations(by_seed, others)
    return float(np.nanmean(found)) if np.isfinite(found).any() else None


def _correlations(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Spearman's rank correlation of each row [k, n] -> [k]; NaN where a row is all alike."""
    from scipy.stats import rankdata

    ranks = [rankdata(part, axis=1) - (part.shape[1] + 1) / 2 for part in (one, other)]
    spread = np.sqrt((ranks[0] ** 2).sum(1) * (ranks[1] ** 2).sum(1))
    product: np.ndarray = (ranks[0] * ranks[1]).sum(1)
    return np.divide(product, spread, out=np.full(len(one), np.nan), where=spread > 0)


def random_return(scene: Any, seed: int, episodes: int) -> float:
    """Mean return of actions drawn at random."""
    from ....policy.environment import make_env
    from ....train.evaluation import held_out_seeds
    from .survey import JUDGING

    env, totals = make_env(scene), []
    try:
        for episode in held_out_seeds(seed, episodes, JUDGING):
            env.reset(seed=episode)
            env.action_space.seed(episode)
            total = 0.0
            for _ in range(MAX_STEPS):
                _, reward, ended, cut, _ = env.step(env.action_space.sample())
                total += float(reward)
                if ended or cut:
                    break
            totals.append(total)
    finally:
        env.close()
    return float(np.mean(totals))


def spread_over(found: list[Surveyed], count: int) -> list[Surveyed]:
    """``count`` of them, evenly over the range of sizes."""
    ordered = sorted(found, key=lambda one: one.weights)
    places = np.unique(np.linspace(0, len(ordered) - 1, min(count, len(ordered))).round().astype(int))
    return [ordered[place] for place in places]
