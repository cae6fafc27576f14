"""tucker: a convolution becomes three thin ones: channels in, a small core, channels out."""

from __future__ import annotations

import itertools
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field, model_validator
from pydantic.dataclasses import dataclass

from ..errors import BadInput
from ..policy import Policy
from ..policy.conv import Conv2d
from ..policy.layers import Linear, Weights
from .allotment import Option, allot
from .lowrank import rank_for_energy
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
from .ranks import ladder
from .requirements import float_weights, recorded, within_tolerance
from .signals import matrix_inputs
from .tensors import Tucker as Factors
from .tensors import channel_root, decompose_tucker, spectra, truncation_errors

Rank = Annotated[int, Field(ge=1, le=1_000_000)]


@dataclass(frozen=True, config=STRICT)
class Tucker:
    """A kernel [out, rows, columns, in] ~ core [r_out, rows, columns, r_in] between two changes of channels (Tucker-2, Kim et
    al. 2016, arXiv 1511.06530), found by higher-order orthogonal iteration.

    A linear layer that reads an image is such a kernel, too: one that covers all of it. It is often the layer with the most
    weights. Where a rank is all of the channels, the layer on that side is left out.
    """

    ranks: tuple[Rank, Rank] | None = None
    """(r_in, r_out) of every chosen layer; refused where that does not make it smaller."""
    energy: float | None = Field(default=None, gt=0, le=1)
    """Smallest ranks that keep this share of the squared singular values along each axis; a layer that would not shrink is left
    alone."""
    keep: float | None = Field(default=None, gt=0, lt=1)
    """Share of the weights of all chosen layers together that may stay; ranks are where the energy is, and a layer that gains
    little may stay as it is."""
    tolerance: float | None = Field(default=None, gt=0)
    """Largest change of the *action* on the recorded rollout: root mean square in half ranges (or standard deviations where an
    action has no range); discrete: of the logits about their mean, in their spread. The share of weights that may stay falls as
    far as that allows."""
    criterion: Literal["weights", "outputs"] = "weights"
    """Whose error is smallest: the kernel's, or the layer's outputs on the recorded rollout (needs one from the environment)."""
    layers: tuple[str, ...] = ()
    """Names of the layers; empty: all convolutions with kernels of several pixels and all linear layers that read an image."""
    kind: Literal["tucker"] = "tucker"

    @model_validator(mode="after")
    def _check(self) -> Tucker:
        if sum(goal is not None for goal in (self.ranks, self.energy, self.keep, self.tolerance)) != 1:
            raise ValueError("give one of ranks, energy, keep and tolerance")
        return self


def size_at(view: View, ranks: tuple[int, int]) -> int:
    """Weights of the chain at ranks (in, out), biases excluded."""
    out, rows, columns, channels = view.shape
    r_in, r_out = ranks
    return rows * columns * r_in * r_out + channels * r_in * (r_in < channels) + out * r_out * (r_out < out)


class Decomposition:
    """One layer: what is known of its kernel before ranks are chosen."""

    def __init__(self, view: View, weights: Weights, inputs: np.ndarray | None) -> None:
        self.view, self.inputs = view, None if inputs is None else inputs.astype(np.float64)
        out, rows, columns, channels = view.shape
        self.kernel = view.kernel(weights).reshape(out, rows * columns, channels)
        self.bias = weights.get(f"{view.layer.name}.bias")
        self.root = None if inputs is None else channel_root(inputs, channels)
        self.wide = self.kernel if self.root is None else self.kernel @ self.root
        self.energies = spectra(self.wide)

    def for_energy(self, share: float) -> tuple[int, int]:
        """Smallest ranks (in, out) that keep ``share`` along each axis."""
        along_out, along_in = self.energies
        return rank_for_energy(along_in, share), rank_for_energy(along_out, share)

    def options(self) -> list[Option[tuple[int, int] | None]]:
        """The layer as it is, and chains at many ranks, with the errors that the iteration begins with there."""
        found: list[Option[tuple[int, int] | None]] = [Option(self.kernel.size, 0.0, None)]
        out, _, _, channels = self.view.shape
        errors = truncation_errors(self.wide)
        for r_in, r_out in itertools.product(ladder(channels), ladder(out)):
            if self.shrinks((r_in, r_out)):
                found.append(Option(size_at(self.view, (r_in, r_out)), float(errors[r_out - 1, r_in - 1]) + 1e-12, (r_in, r_out)))
        return found

    def shrinks(self, ranks: tuple[int, int]) -> bool:
        """Is the chain smaller than the layer?"""
        return size_at(self.view, ranks) < self.kernel.size

    def factors(self, ranks: tuple[int, int]) -> Factors:
        """The factors at ranks (in, out), fitted to the recorded outputs where there are such."""
        found = decompose_tucker(self.kernel, ranks[1], ranks[0], self.root)
        if self.inputs is None:
            return found
        wanted = self.inputs @ self.kernel.reshape(len(self.kernel), -1).T
        seen = (self.inputs.reshape(len(self.inputs), self.kernel.shape[1], -1) @ found.right.T).reshape(len(self.inputs), -1)
        core = regression(seen, wanted @ found.left, found.core.reshape(ranks[1], -1))
        left = regression(seen @ core.T, wanted, found.left)
        return Factors(left, core.reshape(found.core.shape), found.right)

    def chain(self, policy: Policy, factors: Factors) -> Chain:
        """The layers that compute with ``factors``."""
        view, (left, core, right) = self.view, factors
        out, _, _, channels = view.shape
        chain: Chain = []
        names = free_names(policy, view.layer.name, ("in", "core", "out"))
        first, last = len(right) < channels, left.shape[1] < out
        core = core if first else core @ right
        core = core if last else np.einsum("op,pai->oai", left, core)
        if first:
            chain.append(pointwise(names[0], view, right, first=True))
        weights: Weights = {f"{names[1]}.weight": np.ascontiguousarray(core.reshape(len(core), -1), np.float32)}
        bias = view.layer.bias and not last
        if bias and self.bias is not None:
            weights[f"{names[1]}.bias"] = self.bias
        chain.append((_core(names[1], view, core, bias, as_before=not first), weights))
        if last:
            chain.append(pointwise(names[2], view, left, self.bias, first=False))
        return chain

    def report(self, chain: Chain, factors: Factors) -> dict[str, Any]:
        """What the record says."""
        error = relative_error(self.kernel, factors.whole(), self.inputs)
        return in_numbers(self.view, chain, error, rank_in=len(factors.right), rank_out=factors.left.shape[1])


def _core(name: str, view: View, core: np.ndarray, bias: bool, *, as_before: bool) -> Conv2d | Linear:
    """The small kernel; ``as_before``: it reads the layer's own input."""
    window = view.window
    if isinstance(view.layer, Linear):
        return Linear(name, core.shape[1] * core.shape[2], len(core), bias=bias)
    return Conv2d(
        name, core.shape[2], len(core), window.height, window.width, window.kernel, window.stride, window.padding,
        bias=bias, reads=window.reads if as_before else "hwc",
    )  # fmt: skip


def _run(policy: Policy, config: Tucker, context: Context) -> PassResult:
    where = f"pass 'tucker' on {policy.name}"
    chosen = chosen_views(where, policy.layers, config.layers)
    needed = config.criterion == "outputs" or config.tolerance is not None
    golden = recorded(policy, config.kind, context) if needed else None
    heard = matrix_inputs(policy, golden) if golden is not None and config.criterion == "outputs" else {}
    parts = {name: Decomposition(view, policy.weights, heard.get(f"{name}.weight")) for name, view in chosen.items()}
    made: list[tuple[dict[str, Chain], dict[str, Factors]]] = []

    def at(ranks: dict[str, tuple[int, int] | None]) -> dict[str, Chain]:
        factors = {name: parts[name].factors(found) for name, found in ranks.items() if found is not None}
        made.append(({name: parts[name].chain(policy, found) for name, found in factors.items()}, factors))
        return made[-1][0]

    options = {name: part.options() for name, part in parts.items()}
    whole = sum(part.kernel.size for part in parts.values())

    def keeping(share: float) -> dict[str, Chain]:
        chosen = allot(options, int(share * whole))
        return at({} if chosen is None else {name: option.value for name, option in chosen.items()})

    changed: dict[str, Any] = {}
    if config.tolerance is not None and golden is not None:
        chains, changed["action_error"] = within(policy, golden, config.tolerance, keeping)
    elif config.keep is not None:
        if not (chains := keeping(config.keep)):
            least = sum(min(option.size for option in some) for some in options.values())
            raise BadInput(where, expected=f"keep above {least / whole:.4f}, ranks of 1", found=f"{config.keep}")
    else:
        chains = at({name: _asked(part, config) for name, part in parts.items()})
    factors = next((found for some, found in made if some is chains), {})
    report = {name: parts[name].report(chain, factors[name]) for name, chain in chains.items()}
    skipped = {name: "left as it is" for name in chosen if name not in chains}
    return PassResult(with_chains(policy, chains), changed | {"layers": report, "skipped": skipped}, "tucker")


def _asked(part: Decomposition, config: Tucker) -> tuple[int, int] | None:
    """Ranks (in, out) as the settings have it; None where the layer is to be left alone."""
    if config.ranks is None:
        ranks = part.for_energy(config.energy or 1.0)
        return ranks if part.shrinks(ranks) else None
    out, _, _, channels = part.view.shape
    where = f"pass 'tucker', layer {part.view.layer.name}"
    if config.ranks[0] > channels or config.ranks[1] > out:
        raise BadInput(where, expected=f"ranks of at most [{channels}, {out}]", found=f"{list(config.ranks)}")
    if not part.shrinks(config.ranks):
        found = f"{size_at(part.view, config.ranks):,} at ranks {list(config.ranks)}"
        repair = "Lower the ranks, name other layers, or use keep, energy or tolerance"
        raise BadInput(where, expected=f"fewer than its {part.kernel.size:,} weights", found=found, repair=repair)
    return config.ranks


TUCKER = Pass(
    "tucker",
    Tucker,
    _run,
    requires=(an_image, float_weights),
    ensures=(
        Promise("a decomposed layer is smaller than it was", not_smaller),
        within_tolerance,
    ),
)
