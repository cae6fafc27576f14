"""One-shot search, whole: train the family, survey it, build what is worth it, prove the front on the target."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .... import sealed
from ....errors import BadInput, MissingTool, PilotfishError, require
from ....policy import Policy
from ....targets import Target
from ...heal import Heal
from ...passes import Context, apply
from ...table import PASSES
from ..front import front
from ..limits import Limits, limits_of
from ..prove import FRONT, MOST, flown
from .alone import Agreement, agreement, random_return, spread_over, train_alone
from .family_found import FamilyFound, Point
from .survey import Surveyed, chosen, price, survey

if TYPE_CHECKING:
    from ....train.config import PPOConfig

TRAINING, ALONE, POLICIES, LEADER = "training", "alone", "policies", "leader.policy"
RESULT, PAGE = "result.json", "search.html"


def search_family(
    config: PPOConfig,
    target: Target,
    output: Path,
    *,
    members: int = 128,
    check: int = 0,
    check_seeds: int = 1,
    heal: int = 0,
    episodes: int = 10,
    prove_episodes: int = 20,
    min_return: float = 0.95,
    control_hz: float | None = None,
    flash_bytes: int | None = None,
    ram_bytes: int | None = None,
    device: str = "auto",
    progress: bool = False,
    told: Callable[[str], None] = lambda _: None,
    say: Callable[[str], None] = lambda _: None,
) -> FamilyFound:
    """Train ``config.one_shot`` in ``output``, fly ``members`` of its architectures, prove the front on ``target``.

    ``check``: so many architectures are also trained alone, each with as many steps as the family, to see how far the order
    of one-shot returns can be trusted; each of them ``check_seeds`` times. ``heal``: every policy of the front first learns
    for so many environment steps from the leader, and stays as it was if that lowers its return. The same call goes on where
    it was interrupted. Raises BadInput for a ``config`` without a family.
    """
    require("torch", "train")
    require("scipy", "search")
    from ....train.checkpoint import checkpoint_path, load_checkpoint
    from ....train.one_shot.trained import Trained
    from ....train.run import FAMILY, train

    if config.one_shot is None:
        raise BadInput("one-shot search", expected="a family of architectures (one_shot)", found="none")
    folder = Path(output)
    folder.mkdir(parents=True, exist_ok=True)
    leader = train(config, folder / TRAINING, device=device, progress=progress)
    state = load_checkpoint(checkpoint_path(folder / TRAINING, config.digest), config.digest)
    leader.save(folder / LEADER)
    trained = Trained.load(folder / TRAINING / FAMILY)
    found = survey(trained, chosen(trained, members, config.seed), config.scene, episodes, config.seed, folder, told)
    limits = limits_of(target, control_hz or leader.contract.timing.control_hz, flash_bytes, ram_bytes)
    price(found, trained, target, config.env, config.seed, told)
    points = _proven(found, trained, leader, target, limits, config, heal, prove_episodes, folder, say)
    checked = None
    if check:
        rows = train_alone(config, spread_over(found, check), episodes, folder / ALONE, told, check_seeds)
        checked = agreement(rows, random_return(config.scene, config.seed, episodes))
    seconds = 0.0 if state is None else float(state["spent_s"])
    result = _summary(config, target, seconds, found, leader, limits, min_return, points, checked, episodes)
    sealed.write_atomic(folder / RESULT, sealed.canonical_json(result.data()))
    try:
        from .family_page import render

        sealed.write_atomic(folder / PAGE, render(result))
    except MissingTool as missing:
        say(f"no {PAGE}: {missing}")
    return result


def _proven(
    found: list[Surveyed], trained: Any, leader: Policy, target: Target, limits: Limits, config: PPOConfig, heal: int,
    episodes: int, folder: Path, say: Callable[[str], None],
) -> list[Point]:  # fmt: skip
    from ....policy.record import record_golden
    from ...recipe import GOLDEN_SEED, GOLDEN_STEPS

    built = [one for one in found if one.cost is not None and not limits.told(one.costs)]
    best = front([(one.mean, one.cost or 0.0) for one in built])[-MOST:]
    points = []
    for number, index in enumerate(best, 1):
        one = built[index]
        say(f"proving {number} of {len(best)}: {one.name}")
        policy = trained.policy(one.member())
        point = Point(one, f"{POLICIES}/{policy.name}.policy")
        if heal:
            policy = healed(policy, leader, config, heal)
            point.healing = dict(policy.contract.provenance.passes[-1].changed) if policy.contract.provenance.passes else {}
        policy = policy.replace(golden=record_golden(policy, config.env, GOLDEN_STEPS, GOLDEN_SEED))
        policy.save(folder / point.policy)
        try:
            point.artifact, point.verified, point.figures, point.kept = flown(
                policy, target, one.costs.get("backend"), folder / FRONT, config.env, leader, episodes
            )
        except PilotfishError as error:
            point.failed = f"{type(error).__name__}: {error}"
        points.append(point)
    return points


def healed(policy: Policy, leader: Policy, config: PPOConfig, steps: int) -> Policy:
    """``policy`` after ``steps`` of lessons from the ``leader``, or as it was where they lower its return."""
    settings = Heal(steps=steps)
    return apply(policy, PASSES[settings.kind], settings, Context(leader, config.env, config.seed))


def _summary(
    config: PPOConfig, target: Target, seconds: float, found: list[Surveyed], leader: Policy, limits: Limits, min_return: float,
    points: list[Point], checked: Agreement | None, episodes: int,
) -> FamilyFound:  # fmt: skip
    from .survey import flights

    assert config.one_shot is not None
    with flights(config.scene, config.seed, episodes) as fly:
        own = {"weights": leader.parameters, "return": float(fly(leader).mean())}
    good = [i for i, point in enumerate(points) if point.verified and point.kept is not None and point.cost is not None]
    pareto = [good[i] for i in front([(points[i].kept or 0.0, points[i].cost or 0.0) for i in good])]
    keeping = [i for i in pareto if (points[i].kept or 0.0) >= min_return]
    notes = (
        [] if keeping else [f"no proven point keeps {min_return:.0%} of the leader's return: train longer, or widen the family"]
    )
    refused = {one.costs["refused"] for one in found if "refused" in one.costs}
    notes += [f"not built: {reason}" for reason in sorted(refused)]
    return FamilyFound(
        config.env, target.name, config.steps, seconds, config.one_shot.size, found, own, dataclasses.asdict(limits), min_return,
        points, pareto, min(keeping, key=lambda i: points[i].cost or 0.0, default=None), checked, notes,
    )  # fmt: skip
