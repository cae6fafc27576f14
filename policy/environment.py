"""The environment a policy acts in: made by id, flattened, and checked against the contract."""

from __future__ import annotations

import functools
import logging
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import BadInput, Unsupported, require
from .contract import Contract
from .image import shape_of
from .own_environment import is_own, make_own
from .scene import Scene

if TYPE_CHECKING:
    import gymnasium


def make_env(env: str | Scene, **options: Any) -> gymnasium.Env:
    """A Gymnasium environment with one flat observation vector, or a clear reason why not.

    A :class:`pilotfish.policy.scene.Scene` adds what happens between observation and action: observations that are late, several
    actions per decision or late ones, stacked frames, in this order from the inside; its steps are decisions.
    ``module:Class`` is an environment of the user's own, see :mod:`pilotfish.policy.own_environment`.
    Raises BadInput for an unknown id (the registry's own suggestion is passed on) and for a module that the user did not name,
    Unsupported for spaces
    that are no vector in and vector or index out, MissingTool without the ``sim`` extra.
    """
    if not isinstance(env, Scene):
        return _flat(env, **options)
    world = _flat(env.env, **options)
    from .wrappers import Decisions, Frames, LateObservations  # they need gymnasium, which is there by now

    if env.observation_delay[1]:
        world = LateObservations(world, *env.observation_delay)
    if env.steps > 1 or env.actions_per_decision > 1 or env.latency:
        hz = control_hz(world)
        world = Decisions(
            world, env.actions_per_decision, env.latency, 1e6 / hz if hz else None, env.steps, drop_late=env.drop_late
        )
    return Frames(world, env.history) if env.history > 1 else world


def _flat(env_id: str, **options: Any) -> gymnasium.Env:
    """The environment of that id alone."""
    gym = require("gymnasium", "sim")
    if not isinstance(env_id, str) or not env_id:
        raise BadInput(f"environment {env_id!r}", expected="the id of a registered Gymnasium environment", found=repr(env_id))
    listen_to_mujoco()
    _register_shipped()
    try:
        env = make_own(env_id, **options) if is_own(env_id) else gym.make(env_id, **options)
    except gym.error.DependencyNotInstalled as error:
        require("mujoco", "sim")
        raise BadInput(
            f"environment {env_id!r}", expected="its dependencies installed", found=str(error).partition("\n")[0]
        ) from error
    except gym.error.Error as error:
        import difflib

        near = difflib.get_close_matches(env_id, list(gym.registry), n=1, cutoff=0.5)
        raise BadInput(
            f"environment {env_id!r}",
            expected="the id of a registered Gymnasium environment",
            found=str(error).partition("\n")[0].partition(" Did you mean")[0].rstrip("."),
            repair=f"Did you mean {near[0]!r}?" if near else "See gymnasium.pprint_registry()",
        ) from error
    spaces = gym.spaces
    observation, action = env.observation_space, env.action_space
    if not isinstance(observation, spaces.Box):
        raise Unsupported(f"environment {env_id!r}", expected="a Box observation", found=f"{observation}")
    if not isinstance(action, spaces.Discrete) and not (isinstance(action, spaces.Box) and len(action.shape) == 1):
        raise Unsupported(f"environment {env_id!r}", expected="a one-dimensional Box or a Discrete action", found=f"{action}")
    if len(observation.shape) != 1:
        env = gym.wrappers.FlattenObservation(env)
    return env


@functools.cache
def _register_shipped() -> None:
    """Pilotfish's own environments, by the entry points that Gymnasium imports when one is made (they need torch)."""
    gym = require("gymnasium", "sim")
    for name, task in (("pilotfish/Quadrotor-v0", "hover"), ("pilotfish/QuadrotorLissajous-v0", "lissajous")):
        gym.register(name, entry_point="pilotfish.train.worlds.single:QuadrotorEnv", kwargs={"kind": task})


@functools.cache
def listen_to_mujoco() -> None:
    """MuJoCo's warnings go to a logger instead of the terminal and a MUJOCO_LOG.TXT in the current folder.

    That Gymnasium's own models use deprecated compiler attributes is nothing that a user can mend, so it is only for debugging.
    """
    try:
        import mujoco
    except ModuleNotFoundError:
        return
    if mujoco.get_mju_user_warning() is None:
        log = logging.getLogger("pilotfish.mujoco")
        mujoco.set_mju_user_warning(
            lambda text: log.log(logging.DEBUG if "deprecated" in text else logging.WARNING, text.strip())
        )


def control_hz(env: gymnasium.Env) -> float | None:
    """Decisions per second of a MuJoCo environment (1 / dt); None where the environment does not say."""
    step = getattr(env.unwrapped, "dt", None) or getattr(env.unwrapped, "tau", None)
    return round(1.0 / float(step), 6) if isinstance(step, int | float) and step > 0 else None


def check_env(contract: Contract, env: gymnasium.Env) -> None:
    """Refuse an environment whose observation or action is not the contract's."""
    name = env.spec.id if env.spec else "environment"
    size = int(np.prod(env.observation_space.shape or ()))
    if size != contract.observation.size:
        raise BadInput(
            name,
            expected=f"an observation of size {contract.observation.size}, as the policy's contract says",
            found=f"{size}",
            repair="Name the environment that the policy was made for with --env",
        )
    shape, there = contract.observation.shape, shape_of(env)
    if shape and there and shape != there:
        raise BadInput(
            name,
            expected=f"observations of shape {list(shape)}, as the policy's contract says",
            found=f"{list(there)}, whose numbers lie in another order",
            repair="Name the environment that the policy was made for with --env",
        )
    choices = getattr(env.action_space, "n", None)
    discrete = choices is not None
    found = int(choices) if choices is not None else int(np.prod(env.action_space.shape or ()))
    if discrete != (contract.action.kind == "discrete") or found != contract.action.size:
        raise BadInput(
            name,
            expected=f"a {contract.action.kind} action of size {contract.action.size}",
            found=f"a {'discrete' if discrete else 'continuous'} one of size {found}",
        )


def to_env_action(contract: Contract, env: gymnasium.Env, action: np.ndarray) -> Any:
    """What ``env.step`` takes: an index (offset by the space's start) or an array of the space's dtype."""
    if contract.action.kind == "discrete":
        return int(action[0]) + int(getattr(env.action_space, "start", 0))
    return np.asarray(action, dtype=env.action_space.dtype)
