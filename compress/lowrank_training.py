"""lowrank: matrices are trained on manifolds of low rank that follows a tolerance, and come out as two thin ones each."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Literal

import numpy as np
from pydantic import Field
from pydantic.dataclasses import dataclass

from ..errors import BadInput, require
from ..policy import Policy
from .imitation import Imitation
from .lowrank import chosen_matrices, decompose, largest_useful_rank, split
from .matrices import nonzero_masks
from .passes import STRICT, Context, Pass, PassResult, Promise, Requirement
from .requirements import environment, float_weights
from .teachers import others_of

NARROW = 16
"""Matrices with fewer rows or columns are left alone unless their layer is named: their ranks have little to give."""


@dataclass(frozen=True, config=STRICT)
class LowRank(Imitation):
    """Dynamic low-rank training (Schotthöfer et al. 2022, arXiv 2205.13571), as distillation from the recipe's original policy.

    ``factorize`` cuts ranks and leaves the rest to healing; here every step of the training is taken on the manifold of low
    rank, whose bases turn towards what the loss wants and whose rank is what the tolerance leaves over.
    """

    theta: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Share of a matrix's norm that a truncation may leave out: 0 keeps every rank that the bounds allow."""
    rank: int | None = Field(default=None, ge=1)
    """Largest rank of every layer; where it is not smaller than what makes the layer smaller, that is the largest."""
    layers: tuple[str, ...] = ()
    """Names of the linear layers, GRU and LSTM cells; empty: all matrices with at least 16 rows and columns."""
    every: Annotated[int, Field(ge=1, le=10_000)] = 4
    """Gradient steps per step of the integrator, which costs two QR decompositions and a small SVD per layer."""
    kind: Literal["lowrank"] = "lowrank"


def _run(policy: Policy, config: LowRank, context: Context) -> PassResult:
    require("torch", "train")
    from ..train.distill import distill
    from ..train.low_rank import Integrator, LowRankPupil

    chosen = _largest(policy, config)
    integrator = Integrator(chosen, config.theta, config.every)
    others = others_of(config, policy, context)
    trained = distill(
        context.teacher,
        policy,
        config.trainer(context.seed),
        device=context.device,
        progress=context.progress,
        make_pupil=partial(LowRankPupil, integrator=integrator),
        masks={name: mask for name, mask in nonzero_masks(policy.layers, policy.weights).items() if not mask.all()},
        env=context.env,
        others=others.teachers,
        blend=others.blend,
    )
    halves: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for name, largest in chosen.items():
        factors = decompose(trained.weights[name])
        tail = np.sqrt(np.append(np.cumsum(factors.energy[::-1])[::-1], 0.0))  # norm of what a rank of 0, 1, … leaves out
        needed = int(np.argmax(tail <= max(config.theta, 1e-6) * tail[0]))
        halves[name] = factors.cut(max(1, min(needed, largest)))
    ranks = {name: len(right) for name, (_, right) in halves.items()}
    return PassResult(split(trained, halves), {"ranks": ranks, "first_ranks": integrator.ranks[0]}, "dlr")


def _largest(policy: Policy, config: LowRank) -> dict[str, int]:
    """Name of each matrix to train -> its largest rank. Raises BadInput for a name that no linear layer or cell has."""
    where = f"pass 'lowrank' on {policy.name}"
    shapes = chosen_matrices(where, policy.layers, config.layers)
    bounds = {name: largest_useful_rank(*shape) for name, shape in shapes.items() if config.layers or min(shape) >= NARROW}
    if not bounds or min(bounds.values()) < 1:
        raise BadInput(
            where,
            expected="matrices that a low rank makes smaller",
            found=", ".join(name for name, bound in bounds.items() if bound < 1) or f"none with {NARROW} inputs and outputs",
            repair="Name wide layers in `layers`",
        )
    return {name: min(bound, config.rank or bound) for name, bound in bounds.items()}


def _fits(policy: Policy, config: LowRank, _: Context) -> None:
    masks = nonzero_masks(policy.layers, policy.weights)
    for name in _largest(policy, config):
        if not masks[name].all():
            raise BadInput(
                f"pass 'lowrank' on {policy.name}",
                expected=f"no zeros in {name}: a low rank would fill them",
                found=f"{int((~masks[name]).sum())}",
                repair="Put 'prune' behind 'lowrank', or name other layers",
            )


def _beyond(before: Policy, result: PassResult, config: LowRank) -> str:
    largest = _largest(before, config)
    over = [f"{name} {rank} > {largest[name]}" for name, rank in result.changed["ranks"].items() if rank > largest[name]]
    return ", ".join(over)


def _smaller(before: Policy, result: PassResult, _: LowRank) -> str:
    return "" if result.policy.parameters < before.parameters else f"{result.policy.parameters} parameters"


LOWRANK = Pass(
    "lowrank",
    LowRank,
    _run,
    requires=(
        float_weights,
        Requirement("the layers can be made smaller and are not pruned", _fits),
        environment,
    ),
    ensures=(
        Promise("no rank is beyond its bound", _beyond),
        Promise("the policy is smaller than it was", _smaller),
    ),
)
