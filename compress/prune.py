"""prune: the smallest weights become zero, at once or gradually with healing in between."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from ..errors import BadInput
from ..policy import Policy
from ..policy.layers import Weights
from .heal import imitate
from .imitation import Imitation
from .matrices import Masks, entries, matrices, nonzero_masks, zeros
from .passes import STRICT, Context, Pass, PassResult, Promise, Requirement
from .requirements import environment, float_weights


@dataclass(frozen=True, config=STRICT)
class Prune:
    """Magnitude pruning; biases and norms are never pruned.

    Gradual: the cubic schedule of Zhu and Gupta (2017, arXiv 1710.01878) over ``rounds`` rounds; in each, a little is
    pruned and a little is distilled from the recipe's original policy, so that no round breaks much.
    """

    sparsity: float = Field(gt=0, lt=1)
    """Share of the weights (matrix entries) that are zero afterwards."""
    scope: Literal["global", "layer"] = "layer"
    """global: one ranking over all matrices; layer: the same sparsity in each."""
    schedule: Literal["one-shot", "gradual"] = "gradual"
    """one-shot needs no environment, and a ``heal`` behind it; gradual heals as it goes."""
    rounds: int = Field(default=4, ge=1, le=100)
    """Gradual: how many times a little is pruned and a little is healed."""
    begin: float = Field(default=0.0, ge=0, lt=1)
    """Gradual: where in the rounds pruning starts (t0), as a fraction."""
    end: float = Field(default=1.0, gt=0, le=1)
    """Gradual: where the final sparsity is reached (t1); what is left only heals."""
    heal: Imitation = Field(default_factory=lambda: Imitation(steps=4_000, iterations=1))
    """Gradual: how each round is healed."""
    kind: Literal["prune"] = "prune"

    @model_validator(mode="after")
    def _check(self) -> Prune:
        if self.begin >= self.end:
            raise ValueError(f"begin {self.begin} is not before end {self.end}")
        return self


def cubic(t: float, final: float, begin: float, end: float) -> float:
    """s(t) = s_F (1 - (1 - (t - t0) / (t1 - t0))^3), held at 0 before t0 and at s_F after t1."""
    progress = min(max((t - begin) / (end - begin), 0.0), 1.0)
    return final * (1.0 - (1.0 - progress) ** 3)


def magnitude_masks(weights: Weights, names: Sequence[str], sparsity: float, scope: str) -> Masks:
    """Masks that keep the largest magnitudes: exactly round(sparsity * n) zeros per group, or those that are there if more."""
    groups = [list(names)] if scope == "global" else [[name] for name in names]
    masks: Masks = {}
    for group in groups:
        flat = np.concatenate([np.abs(weights[name]).ravel() for name in group])
        count = max(round(sparsity * flat.size), int((flat == 0).sum()))
        keep = np.ones(flat.size, bool)
        keep[np.argsort(flat, kind="stable")[:count]] = False
        start = 0
        for name in group:
            shape, size = weights[name].shape, weights[name].size
            masks[name] = keep[start : start + size].reshape(shape)
            start += size
    return masks


def masked(policy: Policy, masks: Masks) -> Policy:
    """The policy with every entry outside its mask set to zero."""
    pruned = {name: np.where(mask, policy.weights[name], np.float32(0)) for name, mask in masks.items()}
    return policy.replace(weights=policy.weights | pruned, golden=None)


def _run(policy: Policy, config: Prune, context: Context) -> PassResult:
    names = matrices(policy.layers)
    changed: dict[str, Any] = {}
    if config.schedule == "one-shot":
        policy = masked(policy, magnitude_masks(policy.weights, names, config.sparsity, config.scope))
    else:
        changed["rounds"] = []
        for number in range(1, config.rounds + 1):
            sparsity = cubic(number / config.rounds, config.sparsity, config.begin, config.end)
            masks = magnitude_masks(policy.weights, names, sparsity, config.scope)
            policy = imitate(masked(policy, masks), context, config.heal, masks, context.seed + number)
            changed["rounds"].append(round(sparsity, 6))
    masks = nonzero_masks(policy.layers, policy.weights)
    changed["sparsity"] = round(zeros(masks) / entries(masks), 6)
    changed["sparsity_by_matrix"] = {name: round(1 - float(mask.mean()), 6) for name, mask in masks.items()}
    return PassResult(policy, changed, f"p{round(100 * config.sparsity)}")


def _has_matrices(policy: Policy, _: Prune, __: Context) -> None:
    if not matrices(policy.layers):
        raise BadInput(f"pass 'prune' on {policy.name}", expected="at least one layer with weights", found="none")


def _environment_if_gradual(policy: Policy, config: Prune, context: Context) -> None:
    if config.schedule == "gradual":
        environment.check(policy, config, context)


def _keeps_every_layer(policy: Policy, config: Prune, _: Context) -> None:
    names = matrices(policy.layers)
    masks = magnitude_masks(policy.weights, names, config.sparsity, config.scope)
    emptied = [name for name in names if not masks[name].any() and policy.weights[name].any()]
    if emptied:
        raise BadInput(
            f"pass 'prune' on {policy.name}",
            expected="some weights left in every matrix",
            found=f"none left in {emptied[0]} at sparsity {config.sparsity} with scope {config.scope!r}",
            repair="Lower the sparsity" + (' or set scope = "layer"' if config.scope == "global" else ""),
        )


def _wrong_count(before: Policy, result: PassResult, config: Prune) -> str:
    names, weights = matrices(before.layers), result.policy.weights
    for group in [names] if config.scope == "global" else [[name] for name in names]:
        had = sum(int((before.weights[name] == 0).sum()) for name in group)
        size = sum(before.weights[name].size for name in group)
        asked, found = max(round(config.sparsity * size), had), sum(int((weights[name] == 0).sum()) for name in group)
        if abs(found - asked) > 1:
            return f"{found} zeros of {size} in place of {asked} in {', '.join(group[:3])}"
    return ""


def _pruned_bias(before: Policy, result: PassResult, _: Prune) -> str:
    names = set(matrices(before.layers))
    for name, tensor in before.weights.items():
        if name not in names and (fewer := np.count_nonzero(result.policy.weights[name])) < np.count_nonzero(tensor):
            return f"{np.count_nonzero(tensor) - fewer} new zeros in {name}"
    return ""


PRUNE = Pass(
    "prune",
    Prune,
    _run,
    requires=(
        Requirement("there is a layer with weights", _has_matrices),
        float_weights,
        Requirement("there is an environment, if gradual", _environment_if_gradual, early=True),
        Requirement("no matrix would be emptied", _keeps_every_layer),
    ),
    ensures=(
        Promise("the sparsity is the one asked for, within one weight", _wrong_count),
        Promise("biases are never pruned", _pruned_bias),
    ),
)
