"""factorize: a linear layer, or a matrix of a cell, becomes two thinner ones through its singular value decomposition."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from ..errors import BadInput
from ..policy import Policy
from .lowrank import chosen_matrices, decompose, largest_useful_rank, rank_for_energy, split, splittable
from .passes import STRICT, Context, Pass, PassResult, Promise, Requirement
from .ranks import ranks_within
from .requirements import float_weights, recorded, within_tolerance
from .signals import matrix_inputs


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
    """Names of the linear layers, GRU and LSTM cells to factorize; empty: all. Of a cell, the matrices that read its input and
    its state are factorized each by itself. A CfC is left alone."""
    kind: Literal["factorize"] = "factorize"

    @model_validator(mode="after")
    def _check(self) -> Factorize:
        if sum(goal is not None for goal in (self.rank, self.energy, self.tolerance)) != 1:
            raise ValueError("give either rank, energy or tolerance")
        return self


def _run(policy: Policy, config: Factorize, context: Context) -> PassResult:
    shapes = _chosen(policy, config)
    needed = config.criterion == "outputs" or config.tolerance is not None
    golden = recorded(policy, config.kind, context) if needed else None
    heard = matrix_inputs(policy, golden) if config.criterion == "outputs" and golden is not None else {}
    factors = {name: decompose(policy.weights[name], heard.get(name)) for name in shapes}
    changed: dict[str, Any] = {"skipped": {}}
    if config.tolerance is not None and golden is not None:
        ranks, error = ranks_within(policy, factors, golden, config.tolerance)
        changed["action_error"] = round(error, 9)
        left = [_shown(name) for name in shapes if name not in ranks]
        changed["skipped"] = dict.fromkeys(left, "no lower rank is within the tolerance")
    else:
        ranks = {name: config.rank or rank_for_energy(part.energy, config.energy or 1.0) for name, part in factors.items()}
        for name, shape in shapes.items():
            if ranks[name] > (most := largest_useful_rank(*shape)):
                changed["skipped"][_shown(name)] = f"rank {ranks.pop(name)} would not make it smaller (at most {most})"
    changed["ranks"] = {_shown(name): rank for name, rank in ranks.items()}
    halves = {name: factors[name].cut(rank) for name, rank in ranks.items()}
    return PassResult(split(policy, halves), changed, f"r{config.rank}" if config.rank else "lr")


def _shown(matrix: str) -> str:
    """A linear layer's weight goes by the layer's name, a cell's by its own."""
    return matrix.removesuffix(".weight")


def _chosen(policy: Policy, config: Factorize) -> dict[str, tuple[int, int]]:
    """The matrices to factorize; refuses unknown names and, for a fixed rank, a matrix that would not shrink."""
    where = f"pass 'factorize' on {policy.name}"
    shapes = chosen_matrices(where, policy.layers, config.layers)
    for name, (rows, columns) in shapes.items():
        if config.rank and config.rank > largest_useful_rank(rows, columns):
            even = rows * columns / (rows + columns)
            every: dict[str, list[int]] = {}
            for other, shape in chosen_matrices(where, policy.layers, ()).items():
                every.setdefault(other.rpartition(".")[0], []).append(largest_useful_rank(*shape))
            fits = [layer for layer, ranks in every.items() if min(ranks) >= config.rank]
            raise BadInput(
                where,
                expected=f"a rank below {even:.1f}, the break-even of layer {_shown(name)} [{rows}, {columns}]",
                found=f"rank {config.rank}, which would make it no smaller",
                repair=f"Lower the rank, use energy, or set layers = {fits}" if fits else "Lower the rank or use energy",
            )
    return shapes


def _smaller(before: Policy, result: PassResult, _: Factorize) -> str:
    grown = result.policy.parameters - before.parameters
    shrunk = bool(result.changed["ranks"])
    return f"{grown} more parameters" if grown > 0 or (shrunk and grown == 0) else ""


def _has_matrices(policy: Policy, _: Factorize, __: Context) -> None:
    if not splittable(policy.layers):
        where = f"pass 'factorize' on {policy.name}"
        raise BadInput(where, expected="at least one linear layer, GRU or LSTM", found="none that is not in factors already")


FACTORIZE = Pass(
    "factorize",
    Factorize,
    _run,
    requires=(Requirement("there is a linear layer, a GRU or an LSTM", _has_matrices), float_weights),
    ensures=(
        Promise("a factorized layer is smaller than it was", _smaller),
        within_tolerance,
    ),
)
