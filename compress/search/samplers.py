"""The table of samplers: what draws genomes for the arm "search"."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from . import cma, partition
from .encode import Code
from .front import Point
from .worth import worths

if TYPE_CHECKING:
    import optuna

Propose = Callable[[np.ndarray, np.ndarray, Code, np.random.Generator], np.ndarray]
"""(points [n, size], what they were worth [n], their code, random numbers) -> a point [size]."""
PROPOSERS: dict[str, Propose] = {
    "cma": lambda points, worth, code, random: cma.propose(points, worth, code.steps(), random),
    "lanas": lambda points, worth, _, random: partition.propose(points, worth, random),
}
"""Our own, which see genes as numbers and candidates as one number."""
SAMPLERS = ("tpe", "nsga2", "nsga3", *PROPOSERS, "random")
FIRST = 8
"""Candidates that are drawn evenly before TPE and our own samplers have anything to say."""


def sampler_of(name: str, seed: int, floor: float = 0.0) -> optuna.samplers.BaseSampler:
    """A sampler by its name. All but "random" rank by the limits first; ``floor``: share of the return above which it counts."""
    from optuna import samplers

    made: dict[str, Callable[[], samplers.BaseSampler]] = {
        "nsga2": lambda: samplers.NSGAIISampler(population_size=12, seed=seed),
        "nsga3": lambda: samplers.NSGAIIISampler(population_size=12, seed=seed),
        "tpe": lambda: samplers.TPESampler(multivariate=True, group=True, n_startup_trials=FIRST, seed=seed),
        "random": lambda: samplers.RandomSampler(seed=seed),
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Optuna calls some of these experimental, on every start
        return made[name]() if name in made else _ours(PROPOSERS[name], seed, floor)


def fixing(fixed: Mapping[str, Any], sampler: optuna.samplers.BaseSampler) -> optuna.samplers.BaseSampler:
    """``sampler`` with some parameters given."""
    from optuna import samplers

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return samplers.PartialFixedSampler(dict(fixed), sampler)


def tried(trials: list[optuna.trial.FrozenTrial]) -> list[tuple[dict[str, Any], Point | None, float]]:
    """(parameters, (kept, cost) or None, by how much limits are exceeded) of all that say something; a stopped candidate says
    what it kept when it was stopped."""
    from optuna.trial import TrialState

    found: list[tuple[dict[str, Any], Point | None, float]] = []
    for trial in trials:
        over = sum(max(0.0, value) for name, value in trial.constraints.items() if name != "kept")
        if trial.state == TrialState.COMPLETE:
            kept, cost = trial.values
            found.append((trial.params, (kept, cost), over))
        elif trial.state == TrialState.PRUNED and "outcome" in trial.user_attrs:
            outcome = json.loads(trial.user_attrs["outcome"])
            cost = outcome["costs"].get("latency_us")
            if outcome["rungs"] and cost:
                found.append((trial.params, (outcome["rungs"][-1], cost["value"]), over))
    return found


def _ours(propose: Propose, seed: int, floor: float) -> optuna.samplers.BaseSampler:
    """One of :data:`PROPOSERS` as Optuna calls it. It keeps nothing but its random numbers: all that it knows is in the study."""
    from optuna.samplers import BaseSampler, RandomSampler

    class Ours(BaseSampler):
        def __init__(self) -> None:
            self.even, self.random = RandomSampler(seed=seed), np.random.default_rng(seed)

        def reseed_rng(self) -> None:
            self.even.reseed_rng()
            self.random = np.random.default_rng()

        def infer_relative_search_space(self, study: optuna.Study, _: Any) -> dict[str, Any]:
            space: dict[str, Any] = {}
            for trial in study.get_trials(deepcopy=False):
                space |= trial.distributions
            return space

        def sample_relative(self, study: optuna.Study, _: Any, search_space: dict[str, Any]) -> dict[str, Any]:
            known = tried(study.get_trials(deepcopy=False))
            if len(known) < FIRST or not search_space:
                return {}
            code = Code(search_space)
            points = np.stack([code.encode(params) for params, _, _ in known])
            worth = np.array(worths([point for _, point, _ in known], [over for _, _, over in known], floor))
            return code.decode(propose(points, worth, code, self.random))

        def sample_independent(self, study: optuna.Study, trial: Any, param_name: str, param_distribution: Any) -> Any:
            return self.even.sample_independent(study, trial, param_name, param_distribution)

    return Ours()
