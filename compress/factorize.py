"""factorize: a linear layer becomes two thinner ones through its singular value decomposition."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from ..errors import BadInput
from ..policy import Policy
from ..policy.layers import Layer, Linear, Weights
from ..targets.profile import near
from .activations import layer_inputs
from .lowrank import decompose, largest_useful_rank, rank_for_energy
from .passes import STRICT, Context, Pass, PassResult, Promise
from .ranks import ranks_within
from .requirements import float_weights, linear_layers, recorded


@dataclass(frozen=True, config=STRICT)
class Factorize:
    """W [out, in] ~ U [out, r] V [r, in] with the smallest error that rank r allows (Eckart and Young 1936)."""

    rank: int | None = Field(default=None, ge=1)
    """Rank of every chosen layer; refused where it does not make the layer smaller."""
    energy: float | None = Field(default=None, gt=0, le=1)
    """Smallest rank that keeps this share of the squared singular values; a layer that would not shrink is left alone."""
    tolerance: float | None = Field(default=None, gt=0)
    """Largest change of the *action* on the recorded rollout: root mean square in half ranges (or standard deviations where an
    action has no range); discrete: share of the steps that decide otherwise. Ranks fall layer by layer, where that frees
    most weights for its error; a layer that would not shrink is left alone."""
    criterion: Literal["weights", "outputs"] = "weights"
    """Whose error is smallest: the weights', or the layer's outputs on the recorded rollout (needs one from the environment)."""
    layers: tuple[str, ...] = ()
    """Names of the linear layers to factorize; empty: all."""
    kind: Literal["factorize"] = "factorize"

    @model_validator(mode="after")
    def _check(self) -> Factorize:
        if sum(goal is not None for goal in (self.rank, self.energy, self.tolerance)) != 1:
            raise ValueError("give either rank, energy or tolerance")
        return self


def _run(policy: Policy, config: Factorize, context: Context) -> PassResult:
    chosen = _chosen(policy, config)
    needed = config.criterion == "outputs" or config.tolerance is not None
    golden = recorded(policy, config.kind, context) if needed else None
    inputs: dict[int, np.ndarray] = {}
    if config.criterion == "outputs" and golden is not None:
        inputs = layer_inputs(policy, golden, chosen)
    linear = {i: layer for i, layer in enumerate(policy.layers) if i in chosen and isinstance(layer, Linear)}
    factors = {i: decompose(policy.weights[f"{layer.name}.weight"], inputs.get(i)) for i, layer in linear.items()}
    changed: dict[str, Any] = {"skipped": {}}
    if config.tolerance is not None and golden is not None:
        ranks, error = ranks_within(policy, factors, golden, config.tolerance)
        changed["action_error"] = round(error, 9)
        changed["skipped"] = {
            layer.name: "no lower rank is within the tolerance" for i, layer in linear.items() if i not in ranks
        }
    else:
        ranks = {i: config.rank or rank_for_energy(part.energy, config.energy or 1.0) for i, part in factors.items()}
        for i, layer in linear.items():
            if ranks[i] > (most := largest_useful_rank(layer)):
                changed["skipped"][layer.name] = f"rank {ranks.pop(i)} would not make it smaller (at most {most})"
    changed["ranks"] = {linear[i].name: rank for i, rank in ranks.items()}
    halves = {i: factors[i].cut(rank) for i, rank in ranks.items()}
    return PassResult(split(policy, halves), changed, f"r{config.rank}" if config.rank else "lr")


def split(policy: Policy, halves: Mapping[int, tuple[np.ndarray, np.ndarray]]) -> Policy:
    """The policy with linear layers (by index) in two: (U [out, r], V [r, in]), as NAME_v and then NAME_u with the bias."""
    layers: list[Layer] = []
    weights: Weights = dict(policy.weights)
    taken = {layer.name for layer in policy.layers if hasattr(layer, "name")}
    for index, layer in enumerate(policy.layers):
        if index not in halves or not isinstance(layer, Linear):
            layers.append(layer)
            continue
        first, second = _free(f"{layer.name[:60]}_v", taken), _free(f"{layer.name[:60]}_u", taken)
        left, right = halves[index]
        del weights[f"{layer.name}.weight"]
        weights[f"{first}.weight"], weights[f"{second}.weight"] = right, left
        if layer.bias:
            weights[f"{second}.bias"] = weights.pop(f"{layer.name}.bias")
        layers += [
            Linear(first, layer.in_size, len(right), bias=False),
            dataclasses.replace(layer, name=second, in_size=len(right)),
        ]
    return policy.replace(layers=tuple(layers), weights=weights, golden=None)


def _chosen(policy: Policy, config: Factorize) -> set[int]:
    """Indices of the layers to factorize; refuses unknown names and, for a fixed rank, layers that would not shrink."""
    where = f"pass 'factorize' on {policy.name}"
    linear = {layer.name: index for index, layer in enumerate(policy.layers) if isinstance(layer, Linear)}
    for name in config.layers:
        if name not in linear:
            raise BadInput(where, expected="names of linear layers", found=repr(name), repair=near(name, list(linear)))
    chosen = {linear[name] for name in config.layers or linear}
    for index in sorted(chosen):
        layer = policy.layers[index]
        if config.rank and isinstance(layer, Linear) and config.rank > largest_useful_rank(layer):
            even = layer.in_size * layer.out_size / (layer.in_size + layer.out_size)
            fits = [n for n, i in linear.items() if largest_useful_rank(policy.layers[i]) >= config.rank]  # type: ignore[arg-type]
            raise BadInput(
                where,
                expected=f"a rank below {even:.1f}, the break-even of layer {layer.name} [{layer.out_size}, {layer.in_size}]",
                found=f"rank {config.rank}, which would make it no smaller",
                repair=f"Lower the rank, use energy, or set layers = {fits}" if fits else "Lower the rank or use energy",
            )
    return chosen


def _free(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    taken.add(name)
    return name


def _smaller(before: Policy, result: PassResult, _: Factorize) -> str:
    grown = result.policy.parameters - before.parameters
    shrunk = bool(result.changed["ranks"])
    return f"{grown} more parameters" if grown > 0 or (shrunk and grown == 0) else ""


def _beyond_tolerance(_: Policy, result: PassResult, config: Factorize) -> str:
    error = result.changed.get("action_error", 0.0)
    return f"{error}" if config.tolerance is not None and error > config.tolerance else ""


FACTORIZE = Pass(
    "factorize",
    Factorize,
    _run,
    requires=(linear_layers, float_weights),
    ensures=(
        Promise("a factorized layer is smaller than it was", _smaller),
        Promise("the action changes by no more than was tolerated", _beyond_tolerance),
    ),
)
