"""cp: a convolution becomes four thin ones: channels in, down the rows, across the columns, channels out."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from ..errors import BadInput
from ..policy import Policy
from ..policy.conv import Conv2d
from ..policy.layers import Weights
from .allotment import Option, allot
from .multiway import (
    Chain,
    View,
    an_image,
    chosen_views,
    free_names,
    in_numbers,
    not_smaller,
    pointwise,
    regression,
    relative_error,
    with_chains,
    within,
)
from .passes import STRICT, Context, Pass, PassResult, Promise
from .requirements import float_weights, recorded, within_tolerance
from .signals import matrix_inputs
from .tensors import SWEEPS, channel_root, decompose_cp
from .tensors import Cp as Factors


@dataclass(frozen=True, config=STRICT)
class Cp:
    """A kernel [out, rows, columns, in] ~ the sum of r products of four vectors (CP decomposition, Lebedev et al. 2015,
    arXiv 1412.6553), found by alternating least squares: a change of channels to r, two depthwise kernels of one column and of
    one row, and a change of channels back.

    Far fewer weights than ``tucker`` leaves, and harder to find and to heal. A linear layer that reads an image is such a
    kernel, too. A ``heal`` behind it is part of the method.
    """

    rank: int | None = Field(default=None, ge=1, le=100_000)
    """r of every chosen layer; refused where that does not make it smaller."""
    keep: float | None = Field(default=None, gt=0, lt=1)
    """Share of the weights of all chosen layers together that may stay. A rank is found for each layer among ten, by its errors;
    a layer that gains little may stay as it is."""
    tolerance: float | None = Field(default=None, gt=0)
    """Largest change of the action on the recorded rollout, as in ``tucker``."""
    starts: int = Field(default=3, ge=1, le=100)
    """Alternations from different beginnings, the best of which counts: they end in different places."""
    criterion: Literal["weights", "outputs"] = "weights"
    """Whose error is smallest: the kernel's, or the layer's outputs on the recorded rollout (needs one from the environment)."""
    layers: tuple[str, ...] = ()
    """Names of the layers; empty: all convolutions with kernels of several pixels and all linear layers that read an image."""
    kind: Literal["cp"] = "cp"

    @model_validator(mode="after")
    def _check(self) -> Cp:
        if sum(goal is not None for goal in (self.rank, self.keep, self.tolerance)) != 1:
            raise ValueError("give one of rank, keep and tolerance")
        return self


RUNGS, QUICK_SWEEPS = 9, 15
"""Where a rank is chosen, so many but one are looked at, with so many alternations each."""


def weights_per_rank(view: View) -> int:
    """Numbers that each component takes."""
    out, rows, columns, channels = view.shape
    return out + channels + rows * (rows > 1) + columns * (columns > 1)


class Decomposition:
    """One layer: its kernel, and what it reads."""

    def __init__(self, view: View, weights: Weights, inputs: np.ndarray | None, starts: int, seed: int) -> None:
        self.view, self.starts, self.seed = view, starts, seed
        self.inputs = None if inputs is None else inputs.astype(np.float64)
        self.kernel, self.bias = view.kernel(weights), weights.get(f"{view.layer.name}.bias")
        self.root = None if inputs is None else channel_root(inputs, view.shape[3])

    def ranks(self) -> list[int]:
        """Ranks that are looked at where one is to be chosen, from the one that takes half of the layer's weights."""
        most = self.kernel.size // 2 // weights_per_rank(self.view)
        return sorted({max(1, round(most ** (k / RUNGS))) for k in range(RUNGS + 1)} if most else set(), reverse=True)

    def factors(self, rank: int, *, quick: bool = False) -> Factors:
        """The factors at ``rank``, the last one fitted to the recorded outputs where there are such; ``quick``: a first look."""
        starts, sweeps = (1, QUICK_SWEEPS) if quick else (self.starts, SWEEPS)
        found = decompose_cp(self.kernel, rank, starts, self.seed, self.root, sweeps)
        if self.inputs is None:
            return found
        out, rows, columns, channels = self.view.shape
        seen = np.einsum(
            "nyxi,yr,xr,ir->nr", self.inputs.reshape(-1, rows, columns, channels), found.down, found.across, found.in_,
            optimize=True,
        )  # fmt: skip
        return found._replace(out=regression(seen, self.inputs @ self.kernel.reshape(out, -1).T, found.out))

    def chain(self, policy: Policy, factors: Factors) -> Chain:
        """The layers that compute with ``factors``."""
        window, (out, down, across, in_) = self.view.window, factors
        names, rank = free_names(policy, self.view.layer.name, ("in", "down", "across", "out")), out.shape[1]
        chain, height = [pointwise(names[0], self.view, in_.T, first=True)], window.height
        (rows, columns), (step_y, step_x), (pad_y, pad_x) = window.kernel, window.stride, window.padding
        if rows > 1 or step_y > 1:
            layer = Conv2d(
                names[1], rank, rank, height, window.width, (rows, 1), (step_y, 1), (pad_y, 0), depthwise=True, bias=False
            )
            chain.append((layer, {f"{names[1]}.weight": np.ascontiguousarray(down.T, np.float32)}))
            height = window.out_height
        else:
            out = out * down[0]
        if columns > 1 or step_x > 1:
            layer = Conv2d(
                names[2], rank, rank, height, window.width, (1, columns), (1, step_x), (0, pad_x), depthwise=True, bias=False
            )
            chain.append((layer, {f"{names[2]}.weight": np.ascontiguousarray(across.T, np.float32)}))
        else:
            out = out * across[0]
        return [*chain, pointwise(names[3], self.view, out, self.bias, first=False)]

    def report(self, chain: Chain, factors: Factors) -> dict[str, Any]:
        """What the record says."""
        return in_numbers(self.view, chain, self.error(factors), rank=factors.out.shape[1])

    def error(self, factors: Factors) -> float:
        """Relative error of the kernel, or of its recorded outputs."""
        return relative_error(self.kernel.reshape(len(self.kernel), -1), factors.whole(), self.inputs)


def _run(policy: Policy, config: Cp, context: Context) -> PassResult:
    where = f"pass 'cp' on {policy.name}"
    chosen = chosen_views(where, policy.layers, config.layers)
    needed = config.criterion == "outputs" or config.tolerance is not None
    golden = recorded(policy, config.kind, context) if needed else None
    heard = matrix_inputs(policy, golden) if golden is not None and config.criterion == "outputs" else {}
    parts = {
        name: Decomposition(view, policy.weights, heard.get(f"{name}.weight"), config.starts, context.seed)
        for name, view in chosen.items()
    }
    known: dict[tuple[str, int], Factors] = {}
    looked: dict[tuple[str, int], float] = {}

    def factors_at(name: str, rank: int) -> Factors:
        if (name, rank) not in known:
            known[name, rank] = parts[name].factors(rank)
        return known[name, rank]

    def chains_at(ranks: dict[str, int]) -> dict[str, Chain]:
        return {name: parts[name].chain(policy, factors_at(name, rank)) for name, rank in ranks.items()}

    def options(most: int) -> dict[str, list[Option[int | None]]]:
        """Those of at most so many weights."""
        found: dict[str, list[Option[int | None]]] = {}
        for name, part in parts.items():
            found[name] = [Option(part.kernel.size, 0.0, None)]
            for rank in part.ranks():
                size = rank * weights_per_rank(part.view)
                if size <= most and (name, rank) not in looked:
                    looked[name, rank] = part.error(part.factors(rank, quick=True)) ** 2
                if size <= most:
                    found[name].append(Option(size, looked[name, rank] + 1e-12, rank))
        return found

    whole = sum(part.kernel.size for part in parts.values())

    def keeping(share: float) -> dict[str, Chain]:
        chosen = allot(options(int(share * whole)), int(share * whole))
        return {} if chosen is None else chains_at({name: one.value for name, one in chosen.items() if one.value is not None})

    changed: dict[str, Any] = {}
    if config.tolerance is not None and golden is not None:
        chains, changed["action_error"] = within(policy, golden, config.tolerance, keeping)
    elif config.keep is not None:
        if not (chains := keeping(config.keep)):
            least = sum(weights_per_rank(part.view) for part in parts.values())
            raise BadInput(where, expected=f"keep above {least / whole:.4f}, ranks of 1", found=f"{config.keep}")
    else:
        chains = chains_at({name: _asked(part, config.rank or 1) for name, part in parts.items()})
    report = {name: parts[name].report(chain, known[name, _rank_of(chain)]) for name, chain in chains.items()}
    skipped = {name: "left as it is" for name in chosen if name not in chains}
    return PassResult(with_chains(policy, chains), changed | {"layers": report, "skipped": skipped}, "cp")


def _rank_of(chain: Chain) -> int:
    layer, weights = chain[0]
    return len(weights[f"{layer.name}.weight"])  # type: ignore[union-attr]


def _asked(part: Decomposition, rank: int) -> int:
    each, size = weights_per_rank(part.view), part.kernel.size
    if rank * each >= size:
        raise BadInput(
            f"pass 'cp', layer {part.view.layer.name}",
            expected=f"a rank below {size / each:.1f}, the break-even of its {size:,} weights",
            found=f"{rank}",
            repair="Lower the rank, name other layers, or use keep or tolerance",
        )
    return rank


CP = Pass(
    "cp",
    Cp,
    _run,
    requires=(an_image, float_weights),
    ensures=(
        Promise("a decomposed layer is smaller than it was", not_smaller),
        within_tolerance,
    ),
)
