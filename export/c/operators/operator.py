"""What an operator is to the C back-end: read attributes, say how it uses memory, print C."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import numpy as np

from ..graph import Graph, Kind, Node
from ..kernels.choice import Choice
from ..machine import Machine
from ..memory import Plan, Step

ARENAS: dict[Kind, str] = {"float": "policy_arena", "int8_t": "policy_arena_int8", "int16_t": "policy_arena_int16"}
"""Kind -> name of the static array that values of it live in."""


@dataclass
class Scope:
    """Names of everything that an operator may mention in C, and the constant tables collected on the way."""

    graph: Graph
    plan: Plan
    machine: Machine
    roots: dict[str, str]
    """Graph input -> C expression of its first float."""
    tables: dict[str, tuple[np.ndarray, str]] = field(default_factory=dict)
    """C identifier -> (array of float32, int8, int16, uint16 or int32, comment)."""
    math: set[str] = field(default_factory=set)
    """Names of the math functions in use."""
    choices: list[Choice] = field(default_factory=list)
    """Kernels that dense layers got."""

    def at(self, name: str) -> str:
        """C expression for the first entry of a value or of a constant."""
        if name in self.graph.constants:
            return self.table(name, np.asarray(self.graph.vector(_NOWHERE, name)), "")
        place = self.plan.places[name]
        if place.base in self.roots:
            root, offset = self.roots[place.base], place.offset
            return root if not offset else f"{root} + {offset}"
        return f"{ARENAS[self.graph.kind(name)]} + {self.plan.offsets[place.base] + place.offset}"

    def table(self, hint: str, array: np.ndarray, comment: str) -> str:
        """The identifier of a constant table; equal tables with equal hints are stored once."""
        stem = "k_" + (re.sub(r"\W+", "_", hint, flags=re.ASCII).strip("_") or "table")[:80]
        name, count = stem, 1
        while name in self.tables and not _same(self.tables[name][0], array):
            count += 1
            name = f"{stem}_{count}"
        self.tables.setdefault(name, (array, comment))
        return name

    def call(self, function: str) -> str:
        """Note that a math function is in use, in the machine's accuracy; returns its C name."""
        self.math.add(function)
        return f"policy_{function}"


class Operator(Protocol):
    """One kind of operation. A new operator is a short class and a line in the table of the package."""

    node: Node

    @classmethod
    def read(cls, node: Node, graph: Graph) -> Operator:
        """Read attributes and shapes; raise Unsupported for a form that cannot be printed."""

    def step(self) -> Step:
        """How it uses memory."""

    def print(self, scope: Scope) -> list[str]:
        """C statements, one a line, for the body of a block; empty where nothing is computed."""


@dataclass
class Printed:
    """Common ground of operators that compute one vector from others."""

    node: Node
    reads: tuple[str, ...]
    size: int
    in_place: ClassVar[bool] = False

    @property
    def output(self) -> str:
        """The value that it computes."""
        return self.node.outputs[0]

    def step(self) -> Step:
        return Step(self.reads, (self.output,), {}, self.in_place)


def number(value: float | np.floating) -> str:
    """A float32 as an exact C literal."""
    text = f"{np.float32(value):.9g}"
    return text + ("f" if any(c in text for c in ".e") else ".0f")


def pointers(scope: Scope, output: str, **inputs: str) -> list[str]:
    """Declare ``y`` and one const pointer per input value or constant."""
    kind = scope.graph.kind
    parts = [f"const {kind(value)} *const {name} = {scope.at(value)};" for name, value in inputs.items()]
    return [*parts, f"{kind(output)} *const y = {scope.at(output)};"]


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


_NOWHERE = Node("Constant", "constant", (), ())
