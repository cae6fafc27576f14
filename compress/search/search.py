"""Search: propose, build, measure on the target, learn, propose; then prove the front."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ... import sealed
from ...errors import BadInput, MissingTool, require
from ...policy import Policy
from ...policy.environment import check_env, make_env
from ...policy.scene import scene_of
from ...targets import Target
from .budget import Budget
from .effort import Effort
from .found import Found, summarized
from .limits import limits_of
from .pool import finished, search_with
from .prove import candidates, prove
from .ray_pool import search_on_ray
from .samplers import SAMPLERS
from .space import Space, fitted
from .study import ARMS, Study, check_settings
from .worker import Plan

TEACHER = "teacher.policy"
RESULT = "result.json"
PAGE = "search.html"
ENGINES: dict[str, Callable[[Plan, int, Callable[[Study], None]], None]] = {"local": search_with, "ray": search_on_ray}
"""Who makes the candidates: processes of this machine, or tasks of a Ray cluster."""
SLACK = 3
"""The hypervolume counts what keeps more than 1 - SLACK x (what may be lost) of the return."""


def search(
    teacher: Policy,
    target: Target,
    output: Path,
    *,
    env: str | None = None,
    budget: Budget,
    space: Space | None = None,
    min_return: float = 0.95,
    control_hz: float | None = None,
    flash_bytes: int | None = None,
    ram_bytes: int | None = None,
    effort: Effort | None = None,
    sampler: str = "tpe",
    engine: str = "local",
    jobs: int = 0,
    prove_episodes: int = 20,
    seed: int = 0,
    told: Callable[[str], None] = lambda _: None,
    say: Callable[[str], None] = lambda _: None,
) -> Found:
    """Search policies that act like ``teacher`` and cost less on ``target``; go on with what is in ``output``.

    Half of the time goes to the sampler with its predictors, half to uniformly random candidates, which are reported beside it;
    what either finds is offered. Limits are the target's memory and one period of ``control_hz`` (default: the policy's, else
    the target's), or less where told so. ``min_return``: share of the teacher's return that must stay; what keeps less is still
    listed. Raises BadInput for settings that fit no policy, and where another search lives in ``output``.
    """
    require("torch", "train")
    require("optuna", "search")
    env_id = env or teacher.contract.provenance.env
    if env_id is None:
        raise BadInput(f"a search from {teacher.name}", expected="an environment", found="none", repair="Name one with --env")
    if not 0 <= min_return <= 1:
        raise BadInput("min_return", expected="a share between 0 and 1, such as 0.97", found=f"{min_return}")
    chosen = fitted(space or Space(), teacher, target)
    if engine not in ENGINES:
        raise BadInput("engine", expected=" or ".join(ENGINES), found=repr(engine))
    if sampler not in SAMPLERS:
        raise BadInput("sampler", expected=", ".join(SAMPLERS), found=repr(sampler))
    world = make_env(scene_of(teacher.contract, env_id))
    try:
        check_env(teacher.contract, world)
    finally:
        world.close()
    output, effort = Path(output), effort or Effort()
    limits = limits_of(target, control_hz or teacher.contract.timing.control_hz, flash_bytes, ram_bytes)
    floor = max(0.0, 1 - SLACK * (1 - min_return))
    settings = {
        "teacher": teacher.digest, "target": sealed_target(target), "env": env_id, "limits": asdict(limits),
        "space": asdict(chosen), "effort": asdict(effort), "min_return": min_return, "seed": seed,
    }  # fmt: skip
    check_settings(output, plain(settings))
    bundle = output / TEACHER
    if not bundle.exists():
        teacher.save(bundle)
    stop_at = time.time() + budget.seconds if budget.seconds is not None else float("inf")
    plan = Plan(output, bundle, target, env_id, chosen, limits, effort, sampler, floor, seed, stop_at, budget.trials)
    study = plan.study()
    if buried := study.bury():
        say(f"{buried} candidates of an interrupted search are recorded as failed")
    ENGINES[engine](plan, jobs, _Teller(told))
    proofs = prove(plan, candidates(study, floor), prove_episodes, say)
    found = summarized(plan, study, teacher, min_return, proofs)
    sealed.write_atomic(output / RESULT, sealed.canonical_json(found.data()))
    try:
        from .page import render

        sealed.write_atomic(output / PAGE, render(found))
    except MissingTool as missing:
        say(f"no {PAGE}: {missing}")
    return found


class _Teller:
    """Says where the search stands, whenever a candidate is finished."""

    def __init__(self, told: Callable[[str], None]) -> None:
        self.told, self.seen = told, -1

    def __call__(self, study: Study) -> None:
        count = finished(study)
        if count > self.seen:
            self.seen = count
            best = [
                f"{arm}: {len(study.outcomes(arm))} candidates, best keeps "
                f"{max((one.kept for one in study.outcomes(arm) if one.state == 'done' and one.kept is not None), default=0):.1%}"
                for arm in ARMS
            ]
            self.told("; ".join(best))


def plain(settings: dict[str, Any]) -> dict[str, Any]:
    """The same after a way through JSON, so that what was read equals what is asked for."""
    import json

    return dict(json.loads(json.dumps(settings)))


def sealed_target(target: Target) -> str:
    """Name and content of a target, so that an edited profile is another one."""
    return f"{target.name} {sealed.sha256_bytes(repr(target).encode())[:16]}"
