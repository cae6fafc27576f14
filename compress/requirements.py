"""Requirements and promises that more than one pass states."""

from __future__ import annotations

from typing import Any

from ..errors import BadInput
from ..policy import Golden, Policy
from ..policy.environment import check_env, make_env
from ..policy.layers import Linear
from ..policy.scene import scene_of
from .matrices import on_any_grid
from .passes import Context, PassResult, Promise, Requirement


def _float_weights(policy: Policy, config: Any, _: Context) -> None:
    cells = [layer for layer in policy.layers if on_any_grid(layer) and layer.weight_bits != 32]
    if cells:
        kind = "float16" if cells[0].weight_bits == 16 else f"int{cells[0].weight_bits}"
        raise BadInput(
            f"pass {config.kind!r} on {policy.name}",
            expected="float32 weights",
            found=f"{kind} in {', '.join(cell.name for cell in cells[:4])}",
            repair=f"Put {config.kind!r} before 'quantize' in the recipe",
        )


def _linear_layers(policy: Policy, config: Any, _: Context) -> None:
    if not any(isinstance(layer, Linear) for layer in policy.layers):
        raise BadInput(f"pass {config.kind!r} on {policy.name}", expected="at least one linear layer", found="none")


def _environment(policy: Policy, config: Any, context: Context) -> None:
    if context.env is None:
        if getattr(config, "heal", config).without_environment:
            return
        raise BadInput(
            f"pass {config.kind!r} on {policy.name}",
            expected="an environment in which the student acts",
            found="none: the policy's provenance names none",
            repair="Name one with --env, or set without_environment = true to learn from recorded or random observations",
        )
    env = make_env(scene_of(policy.contract, context.env))
    try:
        check_env(policy.contract, env)
    finally:
        env.close()


def _beyond_tolerance(_: Policy, result: PassResult, config: Any) -> str:
    error = result.changed.get("action_error", 0.0)
    return f"{error}" if config.tolerance is not None and error > config.tolerance else ""


def recorded(policy: Policy, kind: str, context: Context) -> Golden:
    """The observations recorded in the environment on which ranges are calibrated; never random ones.

    They are the rollout of the recipe's original policy. Raises BadInput, saying how to get one, where there is none.
    """
    golden = context.teacher.golden
    if golden is None or golden.source != "environment":
        raise BadInput(
            f"pass {kind!r} on {policy.name}",
            expected="a golden rollout recorded in the environment, to calibrate on",
            found="none" if golden is None else "one of random observations, whose ranges mean nothing",
            repair='Adopt or train the policy with --env, or set what needs no calibration: activations = "float" (quantize), '
            'criterion = "weights" (factorize), criterion = "magnitude" and reconstruct = false (shrink)',
        )
    return golden


float_weights: Requirement[Any] = Requirement("the weights are float32", _float_weights)
linear_layers: Requirement[Any] = Requirement("there is at least one linear layer", _linear_layers)
environment: Requirement[Any] = Requirement(
    "there is an environment of the policy's observation and action, unless told to do without", _environment, early=True
)
within_tolerance: Promise[Any] = Promise("the action changes by no more than was tolerated", _beyond_tolerance)
