"""What was learned as a bundle: layers and weights with everything that their user must know."""

from __future__ import annotations

import importlib.metadata
import platform
import re

from ..policy.bundle import Policy
from ..policy.contract import Action, Contract, Normalizer, Observation, Provenance, Timing
from ..policy.environment import control_hz
from ..policy.image import shape_of
from ..policy.layers import Layers, Weights
from ..policy.own_environment import source_of_own
from .config import PPOConfig, SACConfig, TD3Config
from .environments import VectorEnv
from .sparse.record import record


def bundled(
    config: PPOConfig | SACConfig | TD3Config, envs: VectorEnv, algorithm: str, layers: Layers, weights: Weights,
    normalizer: Normalizer | None, action: Action, steps: int, notes: tuple[str, ...],
) -> Policy:  # fmt: skip
    """A policy without a golden rollout, learned in ``envs`` by ``steps`` environment steps of ``algorithm``."""
    env = envs.envs[0]
    source = "running statistics of the training's observations" if normalizer else "none: trained on raw observations"
    tools = {"python": platform.python_version()} | {
        name: importlib.metadata.version(name) for name in ("pilotfish", "torch", "gymnasium", "numpy")
    }
    if "mujoco" in type(env.unwrapped).__module__:
        tools["mujoco"] = importlib.metadata.version("mujoco")
    if config.simulator == "warp":
        tools |= {name: importlib.metadata.version(name) for name in ("mujoco-warp", "warp-lang")}
    tools |= source_of_own(config.env)
    contract = Contract(
        observation=Observation(size=envs.observation_size, history=config.history, normalizer=normalizer, shape=shape_of(env)),
        action=action,
        timing=Timing(control_hz(env), config.actions_per_decision, config.observation_delay, config.latency),
        provenance=Provenance(
            source=f"trained by Pilotfish {algorithm}",
            env=config.env,
            algorithm=algorithm,
            steps=steps,
            seed=config.seed,
            passes=() if config.sparsity is None else (record(config.sparsity, weights),),
            tools=tools,
            normalizer_source=source,
            notes=notes,
        ),
    )
    return Policy(re.sub(r"[^A-Za-z0-9._-]+", "-", config.env), contract, layers, weights)
