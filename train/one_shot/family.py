"""The family of actors that one training is to yield: multi-layer perceptrons of these depths, widths and activations."""

from __future__ import annotations

import itertools
import math
from functools import cached_property
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

STRICT = ConfigDict(extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)
Width = Annotated[int, Field(ge=1, le=4096)]
MAX_MEMBERS = 1_000_000
"""Architectures of a family; they are listed, never trained one by one."""
STRATA = 16
"""Equal stretches of the logarithm of the number of weights, each drawn from as often as any other."""


@dataclass(frozen=True, config=STRICT)
class Member:
    """One architecture of a family."""

    hidden: tuple[int, ...]
    """Widths of the hidden layers."""
    activation: str = "tanh"
    """After every hidden layer."""

    def weights(self, ends: tuple[int, int]) -> int:
        """Entries of all matrices and biases between these sizes of observation and action."""
        return sum((a + 1) * b for a, b in itertools.pairwise((ends[0], *self.hidden, ends[1])))

    @property
    def name(self) -> str:
        """Such as 16x8-tanh."""
        return "x".join(map(str, self.hidden)) + f"-{self.activation}"


@dataclass(frozen=True, config=STRICT)
class Family:
    """HyperPPO's (arXiv 2309.16663) is depth 1 to 4 and widths 4, 8 … 256: 2,800 architectures. Wide ones cost a CPU much."""

    depth: tuple[Annotated[int, Field(ge=1, le=8)], Annotated[int, Field(ge=1, le=8)]] = (1, 4)
    """Fewest and most hidden layers."""
    widths: Annotated[tuple[Width, ...], Field(min_length=1, max_length=64)] = (4, 8, 16, 32, 64)
    """Of every hidden layer by itself."""
    activations: Annotated[tuple[Literal["tanh", "relu"], ...], Field(min_length=1)] = ("tanh",)
    """After the hidden layers of an architecture, one of these."""
    leader: bool = True
    """An ordinary policy learns by PPO, and the architectures learn to act like it: for few environments. False: every
    architecture learns by PPO itself, as HyperPPO's do: for thousands."""
    embedding: Annotated[int, Field(ge=2, le=1024)] = 32
    """Numbers by which the hypernetwork knows a layer."""
    invariant: bool = True
    """Magnitude-invariant parametrization (arXiv 2304.07645): inputs of constant norm, and weights that are learned offsets plus
    the hypernetwork's outputs. False: plain inputs, outputs alone."""

    @model_validator(mode="after")
    def _check(self) -> Family:
        if self.depth[0] > self.depth[1]:
            raise ValueError(f"depth must be [fewest, most], not {list(self.depth)}")
        if len(set(self.widths)) != len(self.widths) or len(set(self.activations)) != len(self.activations):
            raise ValueError("widths and activations must differ from each other")
        if self.size > MAX_MEMBERS:
            raise ValueError(f"{self.size:,} architectures; at most {MAX_MEMBERS:,} can be told apart")
        return self

    @property
    def size(self) -> int:
        """How many architectures there are."""
        return len(self.activations) * sum(len(self.widths) ** d for d in range(self.depth[0], self.depth[1] + 1))

    @property
    def widest(self) -> int:
        """The largest width."""
        return max(self.widths)

    @cached_property
    def members(self) -> list[Member]:
        """All of them."""
        depths = range(self.depth[0], self.depth[1] + 1)
        shapes = itertools.chain.from_iterable(itertools.product(sorted(self.widths), repeat=d) for d in depths)
        return [Member(hidden, activation) for hidden in shapes for activation in self.activations]

    def __contains__(self, member: Any) -> bool:
        return (
            isinstance(member, Member)
            and self.depth[0] <= len(member.hidden) <= self.depth[1]
            and set(member.hidden) <= set(self.widths)
            and member.activation in self.activations
        )

    def nearest(self, hidden: tuple[int, ...], activation: str) -> Member:
        """The member most like these widths: cut or repeated to a depth that there is, each width the nearest by its ratio."""
        depth = min(max(len(hidden), self.depth[0]), self.depth[1])
        wanted = (*hidden, *(hidden[-1:] or (min(self.widths),)) * depth)[:depth]
        chosen = tuple(min(self.widths, key=lambda width: abs(math.log(width / w))) for w in wanted)
        return Member(chosen, activation if activation in self.activations else self.activations[0])


class Lottery:
    """Draws architectures so that small ones are not starved: evenly over the logarithm of the number of weights.

    Drawn evenly over the family itself, four of five would have the greatest depth and most of them be among the largest.
    """

    def __init__(self, family: Family, ends: tuple[int, int]) -> None:
        sizes = np.log([member.weights(ends) for member in family.members])
        low, high = float(sizes.min()), float(sizes.max())
        place = np.minimum(((sizes - low) / max(high - low, 1e-9) * STRATA).astype(int), STRATA - 1)
        self.members = family.members
        self.strata = [rows for stratum in range(STRATA) if len(rows := np.flatnonzero(place == stratum))]

    def draw(self, count: int, random: np.random.Generator) -> list[Member]:
        """``count`` architectures from all over the range of sizes, in random order."""
        offsets = (np.arange(count) + random.random(count)) / count * len(self.strata)
        drawn = [self.members[int(random.choice(self.strata[int(offset)]))] for offset in offsets]
        return [drawn[index] for index in random.permutation(count)]
