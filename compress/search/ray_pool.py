"""Candidates as tasks of a Ray cluster: one process proposes and keeps the record, the cluster makes.

A task whose worker or node dies is begun again elsewhere, :data:`RETRIES` times, and then recorded as failed; the others do not
notice. The record lies with the proposing process: if that one dies, the same command goes on with what is in the journal.
"""

from __future__ import annotations

import dataclasses
import functools
import os
import warnings
from collections.abc import Callable
from typing import Any

from ...errors import require
from ...policy import Policy
from .genome import Genome
from .halving import Peer, hopeless, peers
from .judge import Judge
from .pool import LOOK_EVERY_S
from .study import ARMS, Study
from .task import Task
from .trial import Outcome, attempt
from .worker import Plan, keep, poorer

RETRIES = 3
_judges: dict[bytes, Judge] = {}
"""In a worker of Ray: the judge of the search that it works for."""


def search_on_ray(plan: Plan, jobs: int, told: Callable[[Study], None]) -> None:
    """Work until the budget is spent, with as many candidates at once as the cluster has CPUs (at most ``jobs``; 0: all).

    The cluster is the one that this process is connected to, or that RAY_ADDRESS names; else one is started on this machine.
    Every node needs the same Pilotfish. Ctrl-C cancels what is in the making.
    """
    ray = require("ray", "ray")
    mine = not ray.is_initialized()
    if mine:
        address = {} if "RAY_ADDRESS" in os.environ else {"include_dashboard": False, "num_cpus": jobs or None}
        ray.init(log_to_driver=False, **address)
    try:
        _search(ray, plan, jobs, told)
    finally:
        if mine:
            ray.shutdown()


def _search(ray: Any, plan: Plan, jobs: int, told: Callable[[Study], None]) -> None:
    teacher = Policy.load(plan.teacher)
    study = plan.study()
    proposers = {arm: plan.proposer(study, arm, teacher) for arm in ARMS}
    shared = ray.put(plan.task(teacher))
    make = ray.remote(num_cpus=1, max_retries=RETRIES)(_attempt)
    under_way: dict[Any, tuple[str, Any, Genome]] = {}
    try:
        while True:
            places = int(ray.cluster_resources().get("CPU", 1))
            while len(under_way) < min(places, jobs or places) and plan.goes_on(study):
                arm = poorer(study)
                trial, genome = proposers[arm].next()
                study.begin(trial)
                reference = make.remote(genome, shared, plan.seed + trial.number, peers(study, arm), plan.floor)
                under_way[reference] = (arm, trial, genome)
            if not under_way:
                break
            finished, _ = ray.wait(list(under_way), timeout=LOOK_EVERY_S)
            for reference in finished:
                arm, trial, genome = under_way.pop(reference)
                keep(plan, study, arm, trial, *_result(ray, reference, genome))
            told(study)
    finally:
        for reference, (arm, trial, genome) in under_way.items():
            ray.cancel(reference, force=True)
            study.tell(arm, trial, Outcome(genome, "failed", "the search was interrupted"))
    told(study)


def _result(ray: Any, reference: Any, genome: Genome) -> tuple[Outcome, Policy | None]:
    try:
        outcome: tuple[Outcome, Policy | None] = ray.get(reference)
    except ray.exceptions.RayError as error:
        return Outcome(genome, "failed", f"{type(error).__name__}: {str(error).splitlines()[0]}"), None
    return outcome


def _attempt(genome: Genome, task: Task, seed: int, seen: list[Peer], floor: float) -> tuple[Outcome, Policy | None]:
    """In a worker of Ray."""
    from ...train.device import one_thread

    warnings.simplefilter("ignore")
    key = f"{task.teacher.digest} {task.env} {task.seed} {task.effort}".encode()
    with one_thread():
        if key not in _judges:
            _judges[key] = task.judged()
        mine = dataclasses.replace(task, seed=seed)
        return attempt(genome, mine, _judges[key], functools.partial(hopeless, seen, floor))
