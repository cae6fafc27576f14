"""heal: a compressed policy learns to act like the one it came from, without losing its zeros or its int8 grids."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from ..policy import Policy
from ..policy.layers import LAYERS
from ..policy.scene import scene_of
from .imitation import Imitation
from .matrices import Masks, pruned_masks
from .passes import STRICT, Context, Pass, PassResult, Promise
from .requirements import environment
from .teachers import Others, others_of

RETURN_SEED = 10_007
"""Seeds the episodes that are measured; the trainer's own choice between rounds looks at others."""


@dataclass(frozen=True, config=STRICT)
class Heal(Imitation):
    """On-policy distillation from the recipe's original policy (DAgger, Ross et al. 2011) into the compressed one.

    Pruned weights stay zero (they are masked after every gradient step); int8 weights and activations are trained
    straight through their grids (Jacob et al. 2018), so what was trained is what is exported.
    """

    episodes: Annotated[int, Field(ge=0, le=1000)] = 5
    """Episodes, on the same seeds, that measure the return before and after; the worse of the two is not kept. 0: unmeasured."""
    kind: Literal["heal"] = "heal"


def imitate(
    student: Policy, context: Context, settings: Imitation, masks: Masks, seed: int, others: Others | None = None
) -> Policy:
    """Distill ``context.teacher`` into ``student``; entries outside ``masks`` stay zero. ``others`` teach, too; None: those
    that have taught it in this recipe."""
    from ..train.distill import distill

    others = others or others_of(settings, student, context)
    if context.school is not None and not others.teachers:
        return context.school.teach(student, settings.trainer(seed), masks)
    return distill(
        context.teacher,
        student,
        settings.trainer(seed),
        device=context.device,
        progress=context.progress,
        masks=masks,
        env=context.env,
        others=others.teachers,
        blend=others.blend,
    )


def _run(policy: Policy, config: Heal, context: Context) -> PassResult:
    healed = imitate(policy, context, config, pruned_masks(policy), context.seed)
    if not config.episodes or context.env is None:
        return PassResult(healed, {})
    before, after = mean_returns((policy, healed), context.env, config.episodes)
    changed = {"return": [round(before, 3), round(after, 3)], "episodes": config.episodes, "kept": "after"}
    if after < before:
        return PassResult(policy, changed | {"kept": "before: healing lowered the return"})
    return PassResult(healed, changed)


def mean_returns(policies: Sequence[Policy], env: str, episodes: int) -> list[float]:
    """Mean undiscounted return of each policy over the same deterministic episodes.

    A working figure that decides between candidates; what a report prints is the return of the built artifact.
    """
    from ..train.evaluation import ClosedLoop, held_out_seeds

    loop = ClosedLoop(scene_of(policies[0].contract, env), held_out_seeds(RETURN_SEED, episodes))
    try:
        return [float(loop.returns(policy).mean()) for policy in policies]
    finally:
        loop.close()


def _lost_zeros(before: Policy, result: PassResult, _: Heal) -> str:
    for name, mask in pruned_masks(before).items():
        if filled := int(np.count_nonzero(result.policy.weights[name][~mask])):
            return f"{filled} pruned weights of {name} filled again"
        fresh = int((result.policy.weights[name][mask] == 0).sum())
        if fresh and result.policy.weights[name].dtype != np.int8:  # on an int8 grid a small weight may round to zero
            return f"{fresh} new zeros in {name}"
    return ""


def _other_layers(before: Policy, result: PassResult, _: Heal) -> str:
    if result.policy.layers != before.layers:
        return f"layers {LAYERS.dump_json(result.policy.layers).decode()[:200]}"
    return ""


HEAL = Pass(
    "heal",
    Heal,
    _run,
    requires=(environment,),
    ensures=(
        Promise("the layers, their widths, grids and precisions stay as they are", _other_layers),
        Promise("every weight that was zero still is, and no float32 weight became zero", _lost_zeros),
    ),
)
