"""Train a policy from an environment: the loop around any algorithm, resumable, and the finished bundle."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..errors import BadInput
from ..policy.bundle import Policy
from ..policy.contract import Action, Normalizer
from ..policy.layers import Layers, Weights
from ..policy.own_environment import trust_env
from ..policy.record import record_golden
from .algorithms import ALGORITHMS
from .bundled import bundled
from .checkpoint import checkpoint_path, load_checkpoint, save_checkpoint
from .config import PPOConfig, SACConfig, TD3Config
from .device import one_thread, resolve_device
from .environments import VectorEnv
from .evaluation import ClosedLoop, held_out_seeds
from .interrupt import Interrupt
from .one_shot.learner import Led, Population
from .one_shot.trained import Trained
from .progress import Bar, Scalars, Watcher
from .solitude import alone
from .trackers import telling
from .worlds.vector import vector_env

_AFTERWARDS = 0xE7A2
"""The stream of seeds that judge a policy whose training was stopped because of its evaluation."""


FAMILY = "family"
"""What a one-shot training leaves in its folder beside checkpoint and scalars."""


def train(
    config: PPOConfig | SACConfig | TD3Config,
    run_folder: Path,
    *,
    device: str = "auto",
    progress: bool = True,
    resume: bool = True,
    watchers: Sequence[Watcher] = (),
) -> Policy:
    """Train as ``config`` says and return the policy with its contract, provenance and golden rollout.

    ``run_folder`` takes the checkpoint and the TensorBoard files. A checkpoint of the same settings there is continued
    (``resume``); Ctrl-C writes one and raises KeyboardInterrupt, and kill -9 loses ``checkpoint_every_s`` of work at most.
    The last policy is returned, unless an earlier one did better in the evaluation (mean over ``eval_episodes`` fixed
    episodes that training never sees): then that one. A run that ``stop_at_return`` ended goes on from where it was once
    that setting is raised or lifted. ``watchers`` are told every iteration's scalars.
    Raises MissingTool for a CUDA device that is not there, BadInput for settings or environments that cannot work.
    """
    where = resolve_device(device)
    trust_env(config.env)  # whoever calls this names it; a job file's was looked at before
    folder = Path(run_folder)
    if folder.exists() and not folder.is_dir():
        raise BadInput(folder, expected="a folder for the run", found="a file", repair="Choose another output")
    with alone(checkpoint_path(folder, config.digest)), one_thread():
        processes = getattr(config, "env_processes", 1)
        envs = vector_env(config.scene, config.n_envs, config.seed, processes, config.simulator, where)
        try:
            return _Run(config, folder, envs, where, progress, resume, watchers).to_end()
        finally:
            envs.close()


class _Run:
    """One training from here to the end: the learner, and what is known about its policies so far."""

    def __init__(
        self,
        config: PPOConfig | SACConfig | TD3Config,
        folder: Path,
        envs: VectorEnv,
        device: torch.device,
        progress: bool,
        resume: bool,
        watchers: Sequence[Watcher],
    ) -> None:
        self.config, self.folder, self.envs, self.progress = config, folder, envs, progress
        several = isinstance(config, PPOConfig) and config.one_shot is not None
        self.learner = ALGORITHMS["one-shot" if several else config.algorithm](config, envs, device)
        self.path = checkpoint_path(folder, config.digest)
        self.recent: deque[float] = deque(maxlen=20)
        self.best: dict[str, Any] | None = None
        self.evaluations: list[list[float]] = []
        self.notes: list[str] = []
        self.spent_s = 0.0
        self.resumed_at: int | None = None
        self.verdict = ""
        self.watchers = list(watchers)
        if resume and (state := load_checkpoint(self.path, config.digest)) is not None:
            self._restore(state)

    @property
    def _good_enough(self) -> bool:
        aim = self.config.stop_at_return
        return aim is not None and self.best is not None and self.best["return"] >= aim

    def to_end(self) -> Policy:
        """Iterate until the steps are spent or the policy is good enough, evaluating and saving on the way."""
        learner, config = self.learner, self.config
        title = f"{learner.name} {config.env}"
        with ExitStack() as stack:
            bar = stack.enter_context(Bar(title, config.steps, shown=self.progress))
            interrupt = stack.enter_context(Interrupt())
            scalars = Scalars(self.folder / "tensorboard" / config.digest[:12], self.resumed_at)
            self.watchers.append(scalars)
            if config.tracker != "none":
                self.watchers.append(telling(config, self.folder, self.resumed_at is not None, bar.say))
            stack.callback(self._close_watchers)
            judge = ClosedLoop(config.scene, held_out_seeds(config.seed, config.eval_episodes))
            stack.callback(judge.close)
            if self.resumed_at is not None:
                bar.say(f"{title}: resumed after {self.resumed_at:,} steps")
            if scalars.missing:
                bar.say('no TensorBoard scalars: run pip install "pilotfish[train]" to have them')
            began, saved = time.monotonic() - self.spent_s, time.monotonic()
            first, since = learner.steps, time.monotonic()
            while learner.steps < config.steps and not self._good_enough:
                before = learner.steps
                finished, values = learner.iterate()
                self.recent.extend(total for total, _ in finished)
                speed = (learner.steps - first) / max(time.monotonic() - since, 1e-9)
                text = f"return {np.mean(self.recent):,.1f}  " if self.recent else ""
                bar.update(min(learner.steps, config.steps), f"{text}{speed:,.0f} steps/s")
                if finished:
                    values |= {
                        "episode/return": float(np.mean([total for total, _ in finished])),
                        "episode/length": float(np.mean([length for _, length in finished])),
                    }
                self._tell(values | {"time/steps_per_second": speed})
                if before // config.eval_interval != learner.steps // config.eval_interval or learner.steps >= config.steps:
                    self._tell({"evaluation/return": self._evaluate(judge)})
                self.spent_s = time.monotonic() - began
                if interrupt.asked:
                    self._save()
                    interrupt.stop(f"stopped after {learner.steps:,} steps; the same command goes on from there")
                if time.monotonic() - saved > config.checkpoint_every_s:
                    self._save()
                    saved = time.monotonic()
            if self.resumed_at != learner.steps:
                self._save()
            if interrupt.asked:
                interrupt.stop("stopped after the last step; the same command finishes the policy")
            assert self.best is not None  # the last step is always evaluated
            final = {"final/return": self.best["return"], "final/kept_from_step": float(self.best["steps"])}
            if self._good_enough:
                final["final/return_on_other_seeds"] = self._judge_afterwards(judge)
            self._tell(final)
            bar.say(self._summary(title))
        return self._finish()

    def _close_watchers(self) -> None:
        for watcher in self.watchers:
            watcher.close()

    def _tell(self, scalars: dict[str, float]) -> None:
        for watcher in self.watchers:
            watcher.add(scalars, self.learner.steps)

    def _summary(self, title: str) -> str:
        assert self.best is not None  # the last step is always evaluated
        kept = "" if self.best["steps"] == self.learner.steps else f" (kept from step {self.best['steps']:,})"
        spent = f"{self.learner.steps:,} steps in {self.spent_s:,.0f} s"
        return f"{title}: return {self.best['return']:,.1f}{kept}, {spent}{self.verdict}"

    def _policy(self, layers: Layers, weights: Weights, normalizer: Normalizer | None, action: Action, steps: int) -> Policy:
        return bundled(self.config, self.envs, self.learner.name, layers, weights, normalizer, action, steps, tuple(self.notes))

    def _evaluate(self, judge: ClosedLoop) -> float:
        layers, weights, normalizer, action = self.learner.policy_parts()
        policy = self._policy(layers, weights, normalizer, action, self.learner.steps)
        mean = float(judge.returns(policy).mean())
        self.evaluations.append([float(self.learner.steps), mean])
        # A policy from before the last pruning is not the one that was asked for, however good.
        complete = self.learner.sparse is None or self.learner.sparse.complete
        if complete and (self.best is None or mean >= self.best["return"]):
            moments = [] if normalizer is None else [np.array(normalizer.mean), np.array(normalizer.variance)]
            self.best = {"return": mean, "steps": self.learner.steps, "weights": weights, "moments": moments}
        return mean

    def _judge_afterwards(self, judge: ClosedLoop) -> float:
        """The evaluation that ended the run was waited for, so it flatters: the kept policy is flown on other seeds."""
        config, best = self.config, self.best
        assert best is not None
        episodes = config.eval_episodes
        returns = judge.returns(self._kept(), held_out_seeds(config.seed, episodes, _AFTERWARDS))
        self.verdict = f"; on {episodes} other episodes {returns.mean():,.1f}"
        self.notes.append(
            f"training stopped after {self.learner.steps} of {config.steps} steps: an evaluation with a mean return of "
            f"{best['return']:.6g} over {episodes} episodes reached stop_at_return = {config.stop_at_return:g}; on {episodes} "
            f"episodes with other seeds the policy returns {returns.mean():.6g} on average"
        )
        return float(returns.mean())

    def _finish(self) -> Policy:
        if isinstance(self.learner, Led | Population):
            pattern = self._policy(*self.learner.parts_of(self.learner.family.members[0]), self.learner.steps)
            Trained(self.learner.actors, pattern).save(self.folder / FAMILY)
        policy = self._kept()
        return policy.replace(golden=record_golden(policy, self.config.env, seed=self.config.seed))

    def _kept(self) -> Policy:
        """The policy of the best evaluation."""
        assert self.best is not None  # the last step is always evaluated
        layers, _, normalizer, action = self.learner.policy_parts()
        if normalizer is not None:
            mean, variance = (tuple(array.tolist()) for array in self.best["moments"])
            normalizer = Normalizer(mean, variance, normalizer.epsilon, normalizer.epsilon_inside_sqrt, normalizer.clip)
        return self._policy(layers, self.best["weights"], normalizer, action, int(self.best["steps"]))

    def _save(self) -> None:
        state = {
            "learner": self.learner.state(),
            "recent": list(self.recent),
            "best": self.best,
            "evaluations": self.evaluations,
            "notes": self.notes,
            "spent_s": self.spent_s,
        }
        save_checkpoint(self.path, self.config.digest, state)

    def _restore(self, state: dict[str, Any]) -> None:
        self.recent.extend(state["recent"])
        self.best, self.evaluations, self.spent_s = state["best"], state["evaluations"], float(state["spent_s"])
        self.notes = list(state["notes"])
        if not self.learner.restore(state["learner"]):
            self.notes.append(
                f"resumed after {self.learner.steps} steps, where {self.config.env} did not replay bit by bit: "
                "an uninterrupted training would differ"
            )
        self.resumed_at = self.learner.steps
