"""shrink: whole hidden units are taken out, so that the layers themselves become narrower on every target."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from ..errors import BadInput
from ..policy import Golden, Policy
from ..policy.layers import Layers
from ..targets.profile import near
from ..train.sparse.schedule import SHAPES
from .heal import imitate
from .imitation import Imitation
from .importance import Criterion, Scores, importance
from .matrices import pruned_masks
from .passes import STRICT, Context, Pass, PassResult, Promise, Requirement
from .reconstruct import refit
from .requirements import environment, float_weights
from .rollout import a_rollout, rollout
from .signals import matrix_inputs
from .unit_choice import Kept, keep_best, keep_widths, keep_within, share_within, widths_of
from .units import at_widths, columns, hidden_groups, parameters, without

Width = Annotated[int, Field(ge=1)]


@dataclass(frozen=True, config=STRICT)
class Shrink:
    """Structured pruning: hidden units of linear layers, GRU, LSTM and CfC cells (whose state gets smaller, too).

    A removed unit's mean over the recorded rollout goes into the biases of whoever heard it; then the weights that are left
    are fitted, by least squares over the rollout, to what the layers gave before. Gradual shrinking distils from the recipe's
    original policy after each of its rounds, too, which the smaller half of the way needs. A CfC's backbone keeps its widths,
    and a layer norm in between makes a removal inexact, as it mixes all units: the record names such layers.

    On SB3-zoo's HalfCheetah agents of [256, 256] (10 episodes, one seed, surgeon, no gradient step): PPO, return 5,889, to
    [64, 64] at once 5,665; SAC, about 9,380, to [128, 128] in fitted rounds with rollout = 8,000 9,335.
    """

    keep: float | None = Field(default=None, gt=0, le=1)
    """Share of the hidden units that stay, in each layer or (scope "global") in all."""
    units: dict[str, Width] | None = None
    """How many units stay, by name of the layer; a layer that is not named keeps all."""
    weights: int | None = Field(default=None, ge=1)
    """Most parameters (weights and biases) that the policy may have; at least one unit of every layer stays."""
    criterion: Criterion = "surgeon"
    """Which units matter least: those that the others can stand in for ("surgeon"), by "magnitude" of their weights (needs
    no rollout), by their "activation" on the recorded rollout, or by what the action feels to first order ("taylor")."""
    scope: Literal["global", "layer"] = "layer"
    """layer: the same share in each; global: one ranking over all layers. ``units`` says itself what each layer gets."""
    reconstruct: bool = True
    """Least squares over the recorded rollout behind every removal; False: biases take the means and nothing else."""
    rollout: int = Field(default=0, ge=0, le=1_000_000)
    """Steps that the recipe's original policy records anew, in the environment, to score and fit by; 0: its golden rollout.
    Least squares over 1,000 steps knows little of a wide layer: some thousand more are seconds, and worth it."""
    schedule: Literal["one-shot", "fitted", "gradual"] = "gradual"
    """one-shot: all at once; fitted: in rounds, by least squares alone, in seconds; gradual: in rounds with healing, which
    needs an environment. The first two want a ``heal`` behind them if the return fell."""
    rounds: int = Field(default=4, ge=1, le=100)
    """Fitted, gradual: how many times some units leave."""
    curve: Literal["cubic", "linear"] = "cubic"
    """Fitted, gradual: how the share that has left grows over the rounds, as in ``prune``; no unit can come back."""
    heal: Imitation = Field(default_factory=lambda: Imitation(steps=4_000, iterations=1))
    """Gradual: how each round is healed."""
    kind: Literal["shrink"] = "shrink"

    @model_validator(mode="after")
    def _check(self) -> Shrink:
        if sum(goal is not None for goal in (self.keep, self.units, self.weights)) != 1:
            raise ValueError("give one of keep, units and weights")
        return self

    @property
    def needs_rollout(self) -> bool:
        """Is anything scored or fitted by recorded steps?"""
        return self.criterion != "magnitude" or self.reconstruct


def remove(policy: Policy, kept: Kept, golden: Golden | None, reconstruct: bool) -> Policy:
    """The policy with only the ``kept`` units of each group (name -> ascending indices; a group that is not named keeps all).

    Without a rollout, nothing is folded or fitted. A cell's own matrices are fitted to its states as they were before, not
    to those that the smaller cell would reach: its own errors must not become its lesson.
    """
    layers, weights = policy.layers, dict(policy.weights)
    heard = matrix_inputs(policy, golden) if golden is not None else {}
    biases = {reader.weight: reader.bias for group in hidden_groups(layers) for reader in group.readers}
    gave = {name: heard[name] @ weights[name].T + weights.get(bias, np.float32(0)) for name, bias in biases.items() if heard}
    for name in [group.name for group in hidden_groups(layers)]:
        group = next(group for group in hidden_groups(layers) if group.name == name)
        stay = kept.get(name, np.arange(group.size))
        if len(stay) == group.size:
            continue
        layers, weights = without(layers, weights, group, stay, heard or None)
        gone = np.setdiff1d(np.arange(group.size), stay)
        for reader in group.readers if heard else ():
            heard[reader.weight] = np.delete(heard[reader.weight], columns(group, reader, gone), axis=1)
        for tensor, blocks in group.rows:
            if tensor in gave:
                rows = np.concatenate([block * group.size + gone for block in range(blocks)])
                gave[tensor] = np.delete(gave[tensor], rows, axis=1)
        if golden is None or not reconstruct:
            continue
        for reader in [reader for reader in group.readers if reader.own]:
            weights = refit(weights, reader.weight, reader.bias, heard[reader.weight], gave[reader.weight])
        now = matrix_inputs(policy.replace(layers=layers, weights=weights), golden)
        for reader in [reader for reader in group.readers if not reader.own]:
            weights = refit(weights, reader.weight, reader.bias, now[reader.weight], gave[reader.weight])
    return policy.replace(layers=layers, weights=weights, golden=None)


def _run(policy: Policy, config: Shrink, context: Context) -> PassResult:
    golden = rollout(policy, config.kind, context, config.rollout) if config.needs_rollout else None
    start, changed = policy.layers, dict[str, Any]()
    shares = [1.0]
    if config.schedule != "one-shot":
        shares = [SHAPES[config.curve](number / config.rounds) for number in range(1, config.rounds + 1)]
        changed["rounds"] = []
    for number, share in enumerate(shares, 1):
        scores = importance(policy, config.criterion, golden, context.seed + number)
        policy = remove(policy, _kept(policy, config, scores, start, share), golden, config.reconstruct)
        if config.schedule == "gradual":
            policy = imitate(policy, context, config.heal, pruned_masks(policy), context.seed + number)
        if config.schedule != "one-shot":
            changed["rounds"].append(widths_of(policy.layers))
    before, after = widths_of(start), widths_of(policy.layers)
    changed["units"] = {name: [before[name], after[name]] for name in before}
    if blurred := [group.name for group in hidden_groups(start) if not group.exact and after[group.name] < group.size]:
        changed["through_a_layer_norm"] = blurred
    return PassResult(policy, changed, "s" + "x".join(map(str, after.values())))


def _kept(policy: Policy, config: Shrink, scores: Scores, start: Layers, share: float) -> Kept:
    """Which units stay when ``share`` of all that will leave has left."""
    before = widths_of(start)
    if config.scope == "layer" or config.units is not None:
        final = _final_widths(config, start)
        return keep_widths(scores, {name: round(size - share * (size - final[name])) for name, size in before.items()})
    if config.keep is not None:
        return keep_best(scores, round(sum(before.values()) * (1 - share * (1 - config.keep))))
    assert config.weights is not None
    count = parameters(start)
    return keep_within(policy.layers, scores, max(config.weights, round(count - share * (count - config.weights))))


def _final_widths(config: Shrink, layers: Layers) -> dict[str, int]:
    before = widths_of(layers)
    if config.units is not None:
        return before | config.units
    share = config.keep if config.keep is not None else share_within(layers, config.weights or 1)
    return {name: max(1, round(share * size)) for name, size in before.items()}


def _has_units(policy: Policy, config: Shrink, _: Context) -> None:
    sizes, where = widths_of(policy.layers), f"pass 'shrink' on {policy.name}"
    if not sizes:
        raise BadInput(where, expected="hidden units between two layers with weights", found="none")
    for name, units in (config.units or {}).items():
        if name not in sizes:
            raise BadInput(where, expected="names of hidden layers", found=repr(name), repair=near(name, list(sizes)))
        if units > sizes[name]:
            raise BadInput(where, expected=f"at most the {sizes[name]} units that layer {name} has", found=f"{units}")
    least = parameters(at_widths(policy.layers, dict.fromkeys(sizes, 1)))
    if config.weights is not None and config.weights < least:
        raise BadInput(
            where,
            expected=f"room for one unit in every layer, which are {least} parameters",
            found=f"weights = {config.weights}",
            repair="Raise weights, or distil into a network with fewer layers",
        )


def _environment_if_gradual(policy: Policy, config: Shrink, context: Context) -> None:
    if config.schedule == "gradual":
        environment.check(policy, config, context)


def _wrong_size(before: Policy, result: PassResult, config: Shrink) -> str:
    had, has = widths_of(before.layers), widths_of(result.policy.layers)
    if config.weights is not None and parameters(result.policy.layers) > max(config.weights, 0):
        return f"{result.policy.parameters} parameters"
    if config.scope == "layer" or config.units is not None:
        asked = _final_widths(config, before.layers)
        return "" if has == asked else f"widths {has} in place of {asked}"
    count = max(len(had), round(sum(had.values()) * (config.keep or 0)))
    return f"{sum(has.values())} units in place of {count}" if config.keep is not None and sum(has.values()) != count else ""


def _grown(before: Policy, result: PassResult, _: Shrink) -> str:
    had, has = widths_of(before.layers), widths_of(result.policy.layers)
    return "".join(f"{name} grown from {had[name]} to {has[name]} units" for name in had if has[name] > had[name])


SHRINK = Pass(
    "shrink",
    Shrink,
    _run,
    requires=(
        Requirement("there are hidden units, and as many as are asked for", _has_units),
        float_weights,
        a_rollout,
        Requirement("there is an environment, if gradual", _environment_if_gradual, early=True),
    ),
    ensures=(
        Promise("the widths or the parameters are what was asked for", _wrong_size),
        Promise("no layer has become wider", _grown),
    ),
)
