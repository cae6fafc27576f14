"""fold: linear layers that follow each other with nothing in between become one."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import numpy as np
from pydantic.dataclasses import dataclass

from ..policy import Policy
from ..policy.cells import GRU, LSTM
from ..policy.layers import Layer, Linear, Weights
from .activations import network_outputs, probes
from .passes import STRICT, Context, Pass, PassResult, Promise
from .requirements import float_weights
from .trim import TOLERANCE


@dataclass(frozen=True, config=STRICT)
class Fold:
    """U (V x + a) + b = (U V) x + (U a + b): the way back from ``factorize`` and ``lowrank``, exact; in cells, too.

    A target with wide vectors and a cost per layer may prefer one matrix to two thin ones: let the measured latency decide.
    The C back-end does so by itself, by its own estimate for the target; the others compute what they are given.
    """

    which: Literal["smaller", "all"] = "all"
    """smaller: only where one matrix has fewer parameters than two; all: everywhere."""
    kind: Literal["fold"] = "fold"


def fold(policy: Policy, which: Literal["smaller", "all"] = "all") -> Policy:
    """The policy with every pair (or longer run) of linear layers multiplied out in float64, or only those that shrink.

    NAME_v and NAME_u become NAME again, others take the second's name. Zeros are filled where the product has none.
    """
    layers: list[Layer] = []
    weights: Weights = dict(policy.weights)
    for layer in policy.layers:
        if isinstance(layer, GRU | LSTM):
            layers.append(_folded_cell(layer, weights, which))
            continue
        before = layers[-1] if layers else None
        if not (isinstance(layer, Linear) and isinstance(before, Linear)) or (which == "smaller" and _grows(before, layer)):
            layers.append(layer)
            continue
        first, second = weights.pop(f"{before.name}.weight"), weights.pop(f"{layer.name}.weight").astype(np.float64)
        bias = np.zeros(layer.out_size)
        if before.bias:
            bias += second @ weights.pop(f"{before.name}.bias")
        if layer.bias:
            bias += weights.pop(f"{layer.name}.bias")
        whole = layer.name.removesuffix("_u")
        taken = any(getattr(other, "name", None) == whole for other in policy.layers)
        name = whole if before.name == f"{whole}_v" and not taken else layer.name
        layers[-1] = dataclasses.replace(layer, name=name, in_size=before.in_size, bias=before.bias or layer.bias)
        weights[f"{name}.weight"] = (second @ first).astype(np.float32)
        if before.bias or layer.bias:
            weights[f"{name}.bias"] = bias.astype(np.float32)
    return policy.replace(layers=tuple(layers), weights=weights, golden=None)


def _folded_cell(cell: GRU | LSTM, weights: Weights, which: str) -> GRU | LSTM:
    """The cell without (some) factors; ``weights`` change in place."""
    whole: dict[str, Any] = {}
    for part, rank in (("ih", cell.rank_ih), ("hh", cell.rank_hh)):
        full = f"{cell.name}.weight_{part}"
        if rank is None:
            continue
        product = weights[f"{full}_u"].astype(np.float64) @ weights[f"{full}_v"]
        if which == "all" or product.size < rank * sum(product.shape):
            del weights[f"{full}_u"], weights[f"{full}_v"]
            weights[full] = product.astype(np.float32)
            whole[f"rank_{part}"] = None
    return dataclasses.replace(cell, **whole)


def _grows(first: Linear, second: Linear) -> bool:
    """Would the product of the two have as many parameters as they, or more?"""
    apart = first.out_size * (first.in_size + second.out_size) + first.out_size * first.bias
    return first.in_size * second.out_size >= apart


def _run(policy: Policy, config: Fold, _: Context) -> PassResult:
    folded = fold(policy, config.which)
    return PassResult(folded, {"layers": [len(policy.layers), len(folded.layers)]})


def _changed_function(before: Policy, result: PassResult, _: Fold) -> str:
    golden = probes(before, 256)
    old, new = network_outputs(before, golden), network_outputs(result.policy, golden)
    error = float(np.abs(old - new).max())
    return f"a change of {error:.2e}" if error > TOLERANCE * max(1.0, float(np.abs(old).max())) else ""


FOLD = Pass(
    "fold",
    Fold,
    _run,
    requires=(float_weights,),
    ensures=(Promise("the network computes the same function", _changed_function),),
)
