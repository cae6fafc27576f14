"""The rollout that passes fit and score by: the golden one, or a longer one recorded for the purpose."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from ..errors import BadInput, require
from ..policy import Golden, Policy
from .passes import Context, Requirement
from .requirements import recorded

ROLLOUT_SEED = 20_011
"""Seeds the episodes of a rollout that is recorded here: neither the golden one's nor those by which returns are measured."""


def rollout(policy: Policy, kind: str, context: Context, steps: int) -> Golden:
    """What the recipe's original policy sees: in its golden rollout, or (``steps`` > 0) in so many new steps of the environment.

    Raises BadInput where there is no golden rollout from an environment, or no environment to record one in.
    """
    if not steps:
        return recorded(policy, kind, context)
    if context.env is None:
        raise BadInput(
            f"pass {kind!r} on {policy.name}",
            expected=f"an environment to record {steps:,} steps in",
            found="none: the policy's provenance names none",
            repair="Name one with --env, or leave `rollout` out, which takes the golden rollout",
        )
    return _recorded_anew(context.teacher.digest, context.env, steps, _Held(context.teacher))


class _Held:
    """A policy that takes no part in the key of a cache: its digest does."""

    def __init__(self, policy: Policy) -> None:
        self.policy = policy

    def __eq__(self, _: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0


@lru_cache(maxsize=4)
def _recorded_anew(_: str, env: str, steps: int, teacher: _Held) -> Golden:
    require("torch", "train")
    from ..policy.record import record_golden

    return record_golden(teacher.policy, env, steps=steps, seed=ROLLOUT_SEED)


def _check(policy: Policy, config: Any, context: Context) -> None:
    if not config.needs_rollout:
        return
    if not config.rollout:
        recorded(policy, config.kind, context)
    elif context.env is None:
        rollout(policy, config.kind, context, config.rollout)  # says what is missing


a_rollout: Requirement[Any] = Requirement("there is a recorded rollout, unless nothing needs one", _check)
"""For a config with ``rollout`` (steps to record anew, 0 for the golden one) and ``needs_rollout``."""
