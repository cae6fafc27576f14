"""Several teachers: bundles that a recipe names besides its own policy, read safely and refused where they do not fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

from ..errors import BadInput, require
from ..policy import Policy
from ..policy.environment import check_env, make_env
from ..policy.scene import scene_of
from .passes import Context, Requirement

if TYPE_CHECKING:
    from ..train.teachers import Blend


@dataclass(frozen=True, eq=False)
class Others:
    """Who teaches besides the recipe's policy."""

    teachers: tuple[Policy, ...] = ()
    """In the order in which the recipe names them."""
    blend: Blend = "mean"
    """How they become one; see :mod:`pilotfish.train.teachers`."""


def others_of(config: Any, student: Policy, context: Context) -> Others:
    """The further teachers of a pass that imitates: those that it names itself, else those that ``student`` learned from in
    this recipe, so that it is healed by whoever taught it. Raises BadInput where a bundle is not what it was then.
    """
    if hasattr(config, "teachers"):
        return Others(tuple(Policy.load(path) for path in config.teachers), config.blend)
    before = len(context.teacher.contract.provenance.passes)
    records = [record for record in student.contract.provenance.passes[before:] if record.name == "distill"]
    if not records or not records[-1].settings.get("teachers"):
        return Others()
    digests: dict[str, str] = records[-1].changed["teachers"]
    teachers = []
    for path, digest in digests.items():
        teachers.append(Policy.load(path))
        if teachers[-1].digest != digest:
            raise BadInput(path, expected=f"the teacher {digest[:12]}… of 'distill'", found=f"{teachers[-1].digest[:12]}…")
    return Others(tuple(teachers), cast("Literal['mean', 'episode']", records[-1].settings["blend"]))


def bundles_of(recipe: Sequence[Any]) -> list[str]:
    """Paths of all bundles that a recipe reads besides the policy it is given; what a job must watch, too."""
    return list(dict.fromkeys(path for config in recipe for path in getattr(config, "teachers", ())))


def _fitting(policy: Policy, config: Any, context: Context) -> None:
    if not config.teachers:
        return
    require("torch", "train")
    from ..train.teachers import check_teacher

    if config.blend == "episode" and context.env is None:
        raise BadInput(
            f"pass {config.kind!r} on {policy.name}",
            expected='an environment, whose copies blend = "episode" divides among the teachers',
            found="none",
            repair='Name one with --env, or set blend = "mean"',
        )
    if len(set(config.teachers)) < len(config.teachers):
        raise BadInput(f"pass {config.kind!r} on {policy.name}", expected="every teacher once", found="one of them twice")
    for path in config.teachers:
        teacher = Policy.load(path)
        check_teacher(teacher, context.teacher, colleague=context.teacher)
        if teacher.contract.state and getattr(config, "cell", "") == "none":
            raise BadInput(
                f"pass {config.kind!r} on {policy.name}",
                expected=f"a student with memory, as the teacher {teacher.name} has one",
                found='cell = "none"',
                repair='Set cell = "gru" or "lstm"',
            )
        home = teacher.contract.provenance.env
        if config.blend == "episode" and home is not None:
            env = make_env(scene_of(teacher.contract, home))
            try:
                check_env(teacher.contract, env)
            finally:
                env.close()


fitting: Requirement[Any] = Requirement(
    "every further teacher is a bundle that sees and answers the same as the recipe's policy", _fitting, early=True
)
