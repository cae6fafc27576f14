"""A genome: one candidate of a search, and the recipe that makes it from the teacher."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from .effort import Effort

FLOAT_BITS = 32
"""Bits of a weight that is left as it is."""
INTEGER_BITS = 8
"""Weights of at most so many bits are integers, and what they read may be integers, too."""


@dataclass(frozen=True)
class Genome:
    """What is chosen for a candidate; the rest follows from the teacher."""

    hidden: tuple[int, ...]
    """Widths of the hidden layers."""
    activation: str
    """After every hidden layer."""
    sparsity: float
    """Share of the weights that are zero; 0: dense."""
    rank: float
    """Rank of the matrices as a share of the narrowest hidden layer; 1: not factorized."""
    bits: tuple[int, ...]
    """Of the weights of each linear layer: 32, 16, 8, 4, 3 or 2; all 32, or none."""
    reads: str
    """What integer layers read: float, int8 or int16."""
    backend: str
    """Which of the target's back-ends builds it."""
    decide_every: int = 1
    """Steps of the teacher between two decisions; the action is held."""
    cell: int = 0
    """Width of a GRU in front of the hidden layers; 0: none."""
    studies: int = 1
    """How often its float student gets its second lesson, and how many times as long what it becomes is healed."""

    @property
    def key(self) -> str:
        """The same for the same genome: JSON."""
        return json.dumps(asdict(self), sort_keys=True)

    @property
    def shape(self) -> str:
        """The same for the same float student, from which candidates of different bits, zeros and ranks are made: JSON."""
        return json.dumps([self.hidden, self.activation, self.decide_every, self.cell, self.studies])

    @property
    def quantized(self) -> bool:
        """Are its weights rounded?"""
        return self.bits[0] != FLOAT_BITS

    @property
    def factor_rank(self) -> int | None:
        """The rank that every matrix is given which gets smaller by it; None: none is factorized."""
        return None if self.rank >= 1 or not self.hidden else max(1, round(self.rank * min(self.hidden)))

    def inner(self, ends: tuple[int, int]) -> tuple[int, int]:
        """Sizes of what the linear layers read and give, where the policy reads and gives ``ends``."""
        return self.cell or ends[0], ends[1]

    def gates(self, ends: tuple[int, int]) -> int:
        """Entries of the cell's matrices."""
        return 3 * self.cell * (ends[0] + self.cell)

    def dense(self, ends: tuple[int, int]) -> int:
        """Entries of all matrices of the float student."""
        return self.gates(ends) + sum(a * b for a, b in shapes(self.inner(ends), self.hidden))

    def multiplications(self, ends: tuple[int, int]) -> float:
        """Of one decision, zeros left out: not a cost on any device, but what a predictor may look at."""
        rank, whole = self.factor_rank, float(self.gates(ends))
        for a, b in shapes(self.inner(ends), self.hidden):
            whole += a * b if rank is None else min(a * b, rank * (a + b))
        return whole * (1 - self.sparsity)

    @property
    def name(self) -> str:
        """Short, file-name-safe, not unique."""
        parts = [f"gru{self.cell}"] if self.cell else []
        parts += ["x".join(map(str, self.hidden)), self.activation]
        parts += [f"e{self.decide_every}"] if self.decide_every > 1 else []
        parts += [f"t{self.studies}"] if self.studies > 1 else []
        parts += [f"s{self.sparsity * 100:.0f}"] if self.sparsity else []
        parts += [f"r{self.factor_rank}"] if self.factor_rank else []
        parts += [f"w{'_'.join(map(str, self.bits))}-{self.reads}"] if self.quantized else []
        return "-".join([*parts, self.backend])

    def distill(self, effort: Effort) -> list[dict[str, Any]]:
        """The first lesson: a float student of the shape."""
        return [{"pass": "distill", **self.student(), **effort.glimpse()}]

    def student(self) -> dict[str, Any]:
        """Its float student, in the settings of the pass that teaches it."""
        cell: dict[str, Any] = {"cell": "gru", "cell_size": self.cell} if self.cell else {}
        return {"hidden": list(self.hidden), "activation": self.activation, **cell}

    def finish(self, effort: Effort, layers: tuple[str, ...], ends: tuple[int, int]) -> list[dict[str, Any]]:
        """What makes a taught float student the candidate; empty: it is one already. ``layers``: names of its linear layers;
        ``ends``: sizes of observation and action."""
        passes: list[dict[str, Any]] = []
        rank = self.factor_rank
        if rank is not None:
            gaining = [
                name for name, shape in zip(layers, shapes(self.inner(ends), self.hidden), strict=True) if smaller(rank, shape)
            ]
            passes.append({"pass": "factorize", "rank": rank, "layers": gaining})
        if self.sparsity:
            if passes:
                passes.append({"pass": "heal", **effort.touch()})
            passes.append(
                {
                    "pass": "prune",
                    "sparsity": self.sparsity,
                    "scope": "erdos-renyi",
                    "rounds": 2,
                    "heal": effort.round(self.studies),
                }
            )
            passes.append({"pass": "trim"})
        if self.quantized:
            alike = len(set(self.bits)) == 1
            # Factorized layers have other names; where all have the same bits, none is needed.
            bits: Any = self.bits[0] if alike else dict(zip(layers, self.bits, strict=True))
            cells = {"cells": self.reads} if self.cell else {}
            passes.append({"pass": "quantize", "weight_bits": bits, "activations": self.reads, **cells})
        return passes + ([{"pass": "heal", **effort.heal(self.studies)}] if passes else [])


def shapes(ends: tuple[int, int], hidden: tuple[int, ...]) -> list[tuple[int, int]]:
    """(in, out) of every matrix between these sizes of observation and action."""
    return list(itertools.pairwise((ends[0], *hidden, ends[1])))


def smaller(rank: int, shape: tuple[int, int]) -> bool:
    """Has a product of two matrices of this rank fewer entries than one of this shape?"""
    return rank * (shape[0] + shape[1]) < shape[0] * shape[1]


def genome_of(data: Mapping[str, Any]) -> Genome:
    """The inverse of ``asdict``, from JSON values."""
    fields: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in data.items()}
    return Genome(**fields)
