"""One episode: a session flies an environment from a seed to its end."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from ..errors import BadInput, Unsupported
from ..policy.contract import Contract
from ..policy.environment import to_env_action
from .session import Session

if TYPE_CHECKING:
    import gymnasium

MAX_STEPS = 100_000
"""An episode that has not ended by then is an error: its return would depend on our patience."""


def play(session: Session, env: gymnasium.Env, contract: Contract, seed: int, max_steps: int = MAX_STEPS) -> tuple[float, int]:
    """Fly one episode from ``env.reset(seed=seed)``: (undiscounted return, decisions).

    Raises BadInput if an action is not finite, Unsupported if the episode outlasts ``max_steps``.
    """
    obs, _ = env.reset(seed=seed)
    session.reset()
    total = 0.0
    for step in range(1, max_steps + 1):
        action = session.act(np.asarray(obs, np.float32).reshape(-1))
        if not np.isfinite(action).all():
            raise BadInput(
                f"decision {step} of the episode with seed {seed}",
                expected="finite actions",
                found=f"{action}",
                repair="pilotfish verify shows where the artifact leaves its reference",
            )
        obs, reward, terminated, truncated, _ = env.step(to_env_action(contract, env, action))
        total += float(reward)
        if terminated or truncated:
            if not math.isfinite(total):
                raise BadInput(f"the episode with seed {seed}", expected="a finite return", found=f"{total} from the environment")
            return total, step
    raise Unsupported(
        env.spec.id if env.spec else "environment",
        expected=f"episodes that end within {max_steps:,} decisions",
        found=f"one that goes on (seed {seed})",
        repair="Register it with max_episode_steps",
    )
