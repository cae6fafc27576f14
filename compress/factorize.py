"""factorize: a linear layer becomes two thinner ones through its singular value decomposition."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, NamedTuple

import numpy as np
from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from ..errors import BadInput
from ..policy import Policy
from ..policy.layers import Layer, Linear, Weights
from ..targets.profile import near
from .activations import layer_inputs
from .passes import STRICT, Context, Pass, PassResult, Promise
from .requirements import float_weights, linear_layers, recorded

RIDGE = 1e-4
"""Share of the mean input energy added to every input direction: directions that were never recorded still count a little."""


@dataclass(frozen=True, config=STRICT)
class Factorize:
    """W [out, in] ~ U [out, r] V [r, in] with the smallest error that rank r allows (Eckart and Young 1936)."""

    rank: int | None = Field(default=None, ge=1)
    """Rank of every chosen layer; refused where it does not make the layer smaller."""
    energy: float | None = Field(default=None, gt=0, le=1)
    """Smallest rank that keeps this share of the squared singular values; a layer that would not shrink is left alone."""
    criterion: Literal["weights", "outputs"] = "weights"
    """Whose error is smallest: the weights', or the layer's outputs on the recorded rollout (needs one from the environment)."""
    layers: tuple[str, ...] = ()
    """Names of the linear layers to factorize; empty: all."""
    kind: Literal["factorize"] = "factorize"

    @model_validator(mode="after")
    def _check(self) -> Factorize:
        if (self.rank is None) == (self.energy is None):
            raise ValueError("give either rank or energy")
        return self


class Factors(NamedTuple):
    """A decomposition of W, cut anywhere: W = left @ right, most important rank first."""

    left: np.ndarray
    """float64 [out, k], k = min(out, in)."""
    right: np.ndarray
    """float64 [k, in]."""
    energy: np.ndarray
    """float64 [k], squared singular values in falling order."""

    def cut(self, rank: int) -> tuple[np.ndarray, np.ndarray]:
        """The first ``rank`` terms as float32 (U [out, rank], V [rank, in])."""
        return self.left[:, :rank].astype(np.float32), self.right[:rank].astype(np.float32)


def decompose(weight: np.ndarray, inputs: np.ndarray | None = None) -> Factors:
    """SVD of W [out, in], its singular values shared evenly between the factors so that both quantize well.

    With ``inputs`` [T, in], the SVD of W L with L L^T = the inputs' second moment, undone on the right: cutting it
    minimizes the error of W x over the recorded x instead of the error of W (data-aware low rank).
    """
    wide = weight.astype(np.float64)
    root = np.eye(wide.shape[1])
    if inputs is not None:
        x = inputs.astype(np.float64)
        moment = x.T @ x / len(x)
        ridge = RIDGE * np.trace(moment) / len(moment) + 1e-12
        root = np.linalg.cholesky(moment + ridge * np.eye(len(moment)))
    u, s, vt = np.linalg.svd(wide @ root, full_matrices=False)
    share = np.sqrt(s)
    return Factors(u * share, np.linalg.solve(root.T, (share[:, None] * vt).T).T, s**2)


def rank_for_energy(energy: np.ndarray, share: float) -> int:
    """Smallest rank whose first terms hold ``share`` of the total energy (squared singular values, falling)."""
    total = energy.sum()
    if total == 0:
        return 1
    return min(int(np.searchsorted(np.cumsum(energy) / total, share - 1e-12)) + 1, len(energy))


def largest_useful_rank(layer: Linear) -> int:
    """Largest r with r * (in + out) < in * out; 0 where no rank makes the layer smaller."""
    return (layer.in_size * layer.out_size - 1) // (layer.in_size + layer.out_size)


def _run(policy: Policy, config: Factorize, context: Context) -> PassResult:
    chosen = _chosen(policy, config)
    inputs: dict[int, np.ndarray] = {}
    if config.criterion == "outputs":
        inputs = layer_inputs(policy, recorded(policy, config.kind, context), chosen)
    layers: list[Layer] = []
    weights: Weights = dict(policy.weights)
    ranks: dict[str, int] = {}
    skipped: dict[str, str] = {}
    taken = {layer.name for layer in policy.layers if hasattr(layer, "name")}
    for index, layer in enumerate(policy.layers):
        if index not in chosen or not isinstance(layer, Linear):
            layers.append(layer)
            continue
        factors = decompose(weights[f"{layer.name}.weight"], inputs.get(index))
        rank = config.rank or rank_for_energy(factors.energy, config.energy or 1.0)
        if rank > largest_useful_rank(layer):
            skipped[layer.name] = f"rank {rank} would not make it smaller (at most {largest_useful_rank(layer)})"
            layers.append(layer)
            continue
        first, second = _free(f"{layer.name[:60]}_v", taken), _free(f"{layer.name[:60]}_u", taken)
        left, right = factors.cut(rank)
        del weights[f"{layer.name}.weight"]
        weights[f"{first}.weight"], weights[f"{second}.weight"] = right, left
        if layer.bias:
            weights[f"{second}.bias"] = weights.pop(f"{layer.name}.bias")
        layers += [
            Linear(first, layer.in_size, rank, bias=False),
            dataclasses.replace(layer, name=second, in_size=rank),
        ]
        ranks[layer.name] = rank
    changed: dict[str, Any] = {"ranks": ranks, "skipped": skipped}
    return PassResult(
        policy.replace(layers=tuple(layers), weights=weights, golden=None), changed, f"r{config.rank}" if config.rank else "lr"
    )


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


FACTORIZE = Pass(
    "factorize",
    Factorize,
    _run,
    requires=(linear_layers, float_weights),
    ensures=(Promise("a factorized layer is smaller than it was", _smaller),),
)
