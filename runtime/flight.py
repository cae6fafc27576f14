"""What flies, and in what: an artifact's session behind its guard, here or on its device, and the world with its delays.

Shared by evaluation and film, so that a film shows what was evaluated.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from ..errors import BadInput, MissingTool, Unsupported
from ..policy.contract import MAX_DELAY, Contract
from ..policy.environment import check_env, make_env
from ..policy.latency import MAX_US, Latency
from ..policy.scene import Scene
from ..targets.reach import LocalLink
from .artifact import Artifact
from .behind_guard import behind_guard
from .open import open_session
from .place import is_remote
from .session import Session

if TYPE_CHECKING:
    import gymnasium

MEASURED = "measured"
"""As a latency: what this artifact's own bench stored."""


def take_off(artifact: Artifact, *, trust: bool, latency: Any = None, here: bool | None = None) -> tuple[Artifact, Session]:
    """(the artifact as it is reached, its session behind its guard, where it has one).

    ``here``: decisions are made in this process instead of on the device that its link leads to. None: where the latency is the
    MEASURED one, since what the device takes is known then, if the artifact runs on this machine at all; else on the device.
    """
    if is_remote(artifact) and (here or (here is None and isinstance(latency, str) and latency == MEASURED)):
        local = artifact.reached_by(LocalLink())
        try:
            return local, behind_guard(open_session(local, trust=trust), local)
        except (BadInput, MissingTool, Unsupported) as error:
            if here:
                raise
            artifact.say(f"decisions are asked from its device, since it does not run here: {error}")
    return artifact, behind_guard(open_session(artifact, trust=trust), artifact)


def delays(
    observation_delay: int | tuple[int, int] | None,
    latency: Latency | float | str | os.PathLike[str] | None,
    artifact: Artifact,
    late: str = "obey",
) -> dict[str, Any]:
    """The settings as :func:`pilotfish.policy.scene.scene_of` takes them; BadInput for a delay that cannot be.

    ``latency`` "measured": the bench result that lies beside ``artifact``, for which no device is asked.
    """
    if late not in ("obey", "drop"):
        raise BadInput("late", expected="obey or drop", found=repr(late))
    delay = (observation_delay, observation_delay) if isinstance(observation_delay, int) else observation_delay
    if delay is not None:
        delay = (delay[0], delay[1])
        if not 0 <= delay[0] <= delay[1] <= MAX_DELAY:
            raise BadInput("observation_delay", expected=f"0 <= fewest <= most <= {MAX_DELAY} steps", found=f"{delay}")
    if isinstance(latency, int | float):
        if not 0 <= latency <= MAX_US:
            raise BadInput("latency", expected=f"0 to {MAX_US:,.0f} us", found=f"{latency}")
        latency = Latency.fixed(latency)
    elif latency == MEASURED:
        if artifact.result("bench") is None:
            repair = f"Run pilotfish bench {artifact.path} first"
            raise BadInput("latency", expected="a bench of this very artifact", found="none", repair=repair)
        latency = Latency.read(artifact.path)
    elif latency is not None and not isinstance(latency, Latency):
        latency = Latency.read(latency)
    return {"observation_delay": delay, "latency": latency, "drop_late": late == "drop"}


def world_of(scene: str | Scene, contract: Contract, stack: ExitStack) -> gymnasium.Env:
    """The environment, closed with ``stack``; BadInput where it is not the contract's."""
    world = make_env(scene, disable_env_checker=True)
    stack.callback(world.close)
    check_env(contract, world)
    return world
