"""The same training with several seeds: what the algorithm does here, with an interval, and the best of its policies."""

from __future__ import annotations

import dataclasses
import json
import os
import queue
import subprocess
import sys
import threading
from contextlib import ExitStack
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
from .interrupt import Interrupt
from .one_seed import trained
from .progress import Bar

EPISODES = 20
STOP_WITHIN_S = 60.0
"""What a training has to end its iteration and write a checkpoint before it is killed."""


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
    at_once = processes or (1 if where.type == "cuda" else len(os.sched_getaffinity(0)))
    folder = Path(run_folder)
    orders = [
        _order(config, seed, folder / f"seed-{seed}", episodes, where.type) for seed in range(config.seed, config.seed + seeds)
    ]
    _Crew(config, orders, progress).work(min(at_once, seeds))
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


class _Crew:
    """The processes of the trainings that are not done, some at a time."""

    def __init__(self, config: PPOConfig | SACConfig | TD3Config, orders: list[dict[str, Any]], progress: bool) -> None:
        self.waiting = [order for order in orders if trained(Path(order["folder"]), order["key"]) is None]
        self.total, self.each, self.progress = len(orders), config.steps, progress
        self.title = f"{config.algorithm} {config.env}, {len(orders)} seeds"
        self.finished = self.total - len(self.waiting)
        self.steps: dict[str, int] = {}
        self.running: dict[str, subprocess.Popen[str]] = {}
        self.heard: queue.Queue[tuple[str, str]] = queue.Queue()
        self.failure: PilotfishError | None = None

    def work(self, at_once: int) -> None:
        """Until all are done, one has failed, or Ctrl-C asks to stop."""
        with ExitStack() as stack:
            interrupt = stack.enter_context(Interrupt())
            bar = stack.enter_context(Bar(self.title, self.total * self.each, shown=self.progress))
            stack.callback(self._stop)
            while self.waiting or self.running:
                while self.waiting and len(self.running) < at_once:
                    self._start(self.waiting.pop(0))
                self._listen()
                done = self.finished * self.each + sum(min(steps, self.each) for steps in self.steps.values())
                bar.update(done, f"{self.finished} of {self.total} seeds done")
                if interrupt.asked or (self.failure and not self.heard.qsize()):
                    break
        if self.failure:
            raise self.failure
        if interrupt.asked:
            interrupt.stop(f"stopped with {self.finished} of {self.total} seeds done; the same command goes on from there")

    def _start(self, order: dict[str, Any]) -> None:
        # A session of its own: Ctrl-C in the terminal reaches this process alone, which then passes on exactly one.
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", f"{__package__}.one_seed"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert process.stdin is not None
        name = order["folder"]
        process.stdin.write(json.dumps(order) + "\n")
        process.stdin.flush()
        self.running[name], self.steps[name] = process, 0
        threading.Thread(target=self._hear, args=(name, process), daemon=True).start()

    def _hear(self, name: str, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self.heard.put((name, line))
        self.heard.put((name, ""))

    def _listen(self) -> None:
        """Take in what the processes said; an empty line is the end of one."""
        try:
            name, line = self.heard.get(timeout=0.2)
        except queue.Empty:
            return
        if line:
            said = json.loads(line)
            self.steps[name] = said.get("steps", self.steps[name])
            if "error" in said:
                self.failure = PilotfishError(f"{name}: {said['error']}")
            return
        code = self.running[name].wait()
        self._close(name)
        del self.steps[name]
        if code == 0:
            self.finished += 1
        elif self.failure is None:
            repair = "Run the same command again: it goes on from the last checkpoint"
            self.failure = PilotfishError(f"{name}: the training's process ended with exit code {code}. {repair}")
        else:
            self.failure.exit_code = code  # what kind of error it was

    def _stop(self) -> None:
        """End what still runs: the end of its standard input is a Ctrl-C to it, and it saves its state."""
        for process in self.running.values():
            assert process.stdin is not None
            process.stdin.close()
        for name, process in list(self.running.items()):
            try:
                process.wait(STOP_WITHIN_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            self._close(name)

    def _close(self, name: str) -> None:
        process = self.running.pop(name)
        for stream in (process.stdin, process.stdout):
            if stream is not None and not stream.closed:
                stream.close()


def _summed_up(orders: list[dict[str, Any]], episodes: int) -> SeedsResult:
    runs = []
    for order in orders:
        found = trained(Path(order["folder"]), order["key"])
        if found is None:
            raise PilotfishError(f"{order['folder']}: the training ended without a policy; run the same command again")
        policy, result = found
        runs.append(
            SeedRun(order["settings"]["seed"], policy, float(np.mean(result["judging"])), float(np.mean(result["choosing"])))
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
