"""The same training with several seeds: what the algorithm does here, with an interval, and the best of its policies."""

from __future__ import annotations

import dataclasses
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import TypeAdapter

from .. import __version__, sealed
from ..errors import BadInput, PilotfishError
from ..figure import Figure
from ..policy.bundle import Policy
from ..policy.environment import make_env
from ..runtime.interquartile import SPREAD, interquartile_mean, mean, stratified_bootstrap
from ..targets import host
from .config import PPOConfig, SACConfig, TD3Config
from .device import resolve_device
from .one_seed import trained
from .trackers import prepare
from .trainings import Trainings

EPISODES = 20


@dataclass(frozen=True)
class SeedRun:
    """One of the trainings."""

    seed: int
    """Its seed."""
    policy: Policy
    """What it made."""
    mean_return: float
    """Mean over the judging episodes: the same ones for every seed, and none of them chose anything."""
    choosing_return: float
    """Mean over the choosing episodes, which are others."""


@dataclass(frozen=True)
class SeedsResult:
    """All of them, and what they say together."""

    runs: tuple[SeedRun, ...]
    """In the order of their seeds."""
    best: SeedRun
    """The one with the highest ``choosing_return``; its policy carries a note on how it was chosen."""
    mean: Figure
    """Mean of the runs' returns."""
    iqm: Figure
    """Interquartile mean of the runs' returns."""
    episodes: int
    """Choosing, and judging, episodes of each policy."""

    @property
    def rule(self) -> str:
        """How the best was chosen, in words."""
        return (
            f"the highest mean return over {self.episodes} choosing episodes; the returns reported are means over "
            f"{self.episodes} other episodes, the same for every seed"
        )

    def summary(self) -> dict[str, Any]:
        """Everything but the policies, for machines."""
        runs = [
            {
                "seed": run.seed,
                "return": run.mean_return,
                "choosing_return": run.choosing_return,
                "kept_from_step": run.policy.contract.provenance.steps,
                "digest": run.policy.digest,
            }
            for run in self.runs
        ]
        figures = {"mean": dataclasses.asdict(self.mean), "iqm": dataclasses.asdict(self.iqm)}
        return {"runs": runs, "best_seed": self.best.seed, "rule": self.rule, "episodes": self.episodes, "figures": figures}


def train_seeds(
    config: PPOConfig | SACConfig | TD3Config,
    run_folder: Path,
    *,
    seeds: int = 5,
    processes: int | None = None,
    episodes: int = EPISODES,
    device: str = "auto",
    progress: bool = True,
) -> SeedsResult:
    """Train with the seeds ``config.seed``, ``config.seed`` + 1, … and judge every policy on the same episodes.

    Each seed is a process of its own with its own folder in ``run_folder``; ``processes`` of them run at a time (default: one
    per core, or one on a GPU). Ctrl-C, a kill of this process, or of one of them, costs no seed more than
    ``checkpoint_every_s``: the same call goes on. The intervals are stratified bootstrap ones over runs (arXiv 2108.13264).
    Writes ``seeds.json``. Raises what the first training that failed raised, after the others saved their state.
    """
    if not 1 <= seeds <= 1000:
        raise BadInput("seeds", expected="1 to 1000", found=f"{seeds}")
    if episodes < 1:
        raise BadInput("episodes", expected="1 or more", found=f"{episodes}")
    if processes is not None and processes < 1:
        raise BadInput("processes", expected="1 or more", found=f"{processes}")
    where = resolve_device(device)
    make_env(config.scene, disable_env_checker=True).close()  # what is wrong with it is better said once
    prepare(config)
    at_once = min(seeds, processes or (1 if where.type == "cuda" else len(os.sched_getaffinity(0))))
    folder = Path(run_folder)
    if at_once > 1:  # the cores are taken: what a training would share out by itself stays in its process
        alone: dict[str, Any] = {name: 1 for name in ("env_processes", "threads") if getattr(config, name, None) == 0}
        config = dataclasses.replace(config, **alone)
    orders = [
        _order(config, seed, folder / f"seed-{seed}", episodes, where.type) for seed in range(config.seed, config.seed + seeds)
    ]
    Trainings(config, orders, progress).work(at_once)
    result = _summed_up(orders, episodes)
    sealed.write_atomic(folder / "seeds.json", sealed.canonical_json(result.summary()))
    return result


def _order(config: PPOConfig | SACConfig | TD3Config, seed: int, folder: Path, episodes: int, device: str) -> dict[str, Any]:
    own = dataclasses.replace(config, seed=seed)
    if isinstance(own, PPOConfig) and not own.env_processes:
        own = dataclasses.replace(own, env_processes=1)  # the seeds have taken the cores
    settings = TypeAdapter(type(own)).dump_python(own, mode="json")  # type: ignore[arg-type]
    shape = {
        "settings": own.digest,
        "stop": own.stop_at_return,
        "episodes": episodes,
        "first": config.seed,
        "version": __version__,
    }
    key = sealed.sha256_bytes(sealed.canonical_json(shape).encode())
    order = {"settings": settings, "folder": str(folder), "device": device, "path": sys.path}
    return order | {"episodes": episodes, "first_seed": config.seed, "key": key}


def _summed_up(orders: list[dict[str, Any]], episodes: int) -> SeedsResult:
    runs = []
    for order in orders:
        found = trained(Path(order["folder"]), order["key"])
        if found is None:
            raise PilotfishError(f"{order['folder']}: the training ended without a policy; run the same command again")
        policy, flown = found
        runs.append(
            SeedRun(order["settings"]["seed"], policy, float(np.mean(flown["judging"])), float(np.mean(flown["choosing"])))
        )
    scores = np.array([run.mean_return for run in runs])

    def figure(statistic: Any, what: str) -> Figure:
        interval = stratified_bootstrap(scores, statistic)
        spread = SPREAD if interval.low is not None else ""
        note = "; ".join(
            filter(None, (f"{what} over {len(runs)} trainings of the mean return of {episodes} episodes", interval.note))
        )
        return Figure(
            interval.value, "return", "measured", len(runs), interval.low, interval.high, spread, host.device_name(), note
        )

    best = max(runs, key=lambda run: run.choosing_return)
    result = SeedsResult(tuple(runs), best, figure(mean, "mean"), figure(interquartile_mean, "interquartile mean"), episodes)
    said = (
        f"the best of {len(runs)} trainings (seeds {runs[0].seed} to {runs[-1].seed}), chosen by {result.rule}: this one "
        f"returns {best.mean_return:.6g} on them, the trainings' interquartile mean is {result.iqm.value:.6g}"
    )
    provenance = best.policy.contract.provenance
    provenance = dataclasses.replace(provenance, notes=(*provenance.notes, said))
    contract = dataclasses.replace(best.policy.contract, provenance=provenance)
    noted = dataclasses.replace(best, policy=best.policy.replace(contract=contract))
    return dataclasses.replace(result, best=noted)
