"""The IR of the C back-end: a policy as nodes over flat vectors, of float32 unless a rewrite says otherwise."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from ...errors import Unsupported
from ...policy.layers import HashedLinear
from .constants import Constant, as_array

Kind = Literal["float", "int8_t", "int16_t"]
"""C type of the entries of a value."""


@dataclass(frozen=True)
class Node:
    """One operation."""

    op: str
    """ONNX operator, or FakeQuantize."""
    name: str
    """For people; unique in most graphs."""
    inputs: tuple[str, ...]
    """Value or constant names; "" where an optional input is absent."""
    outputs: tuple[str, ...]
    """Value names."""
    attributes: dict[str, Any] = field(default_factory=dict)
    """As in the ONNX node."""

    def refuse(self, expected: str, found: str) -> Unsupported:
        """The error for a node that the C back-end cannot print."""
        return Unsupported(f"C back-end, {self.op} node {self.name!r}", expected=expected, found=found)


@dataclass
class Graph:
    """A policy as nodes over flat vectors."""

    inputs: dict[str, int]
    """Name -> number of float32 values: obs and state_in_NAME, in graph order."""
    outputs: dict[str, int]
    """Name -> number of values: action and state_out_NAME, in graph order."""
    nodes: list[Node]
    """In an order in which every input is there before it is used."""
    sizes: dict[str, int]
    """Number of values of everything that a node reads or writes, constants excluded."""
    constants: dict[str, Constant]
    """What does not depend on an input."""
    integer: set[str] = field(default_factory=set)
    """Values that are integers (the discrete action) rather than float32."""
    hashed: dict[str, HashedLinear] = field(default_factory=dict)
    """Weight -> the layer whose store it shows over and over, where the policy says so."""
    kinds: dict[str, Kind] = field(default_factory=dict)
    """Values inside the graph that a rewrite keeps as small integers; all others are float."""

    def kind(self, name: str) -> Kind:
        """C type of the entries of a value."""
        return self.kinds.get(name, "float")

    def matrix(self, node: Node, name: str) -> Constant:
        """The constant 2-D weight that ``node`` takes as ``name``."""
        value = self.constants.get(name)
        if value is None:
            raise node.refuse("a constant weight matrix", f"{name!r}, which is computed")
        array = value if isinstance(value, np.ndarray) else value.values
        if array.ndim != 2 or array.dtype not in (np.float32, np.float16, np.int8):
            raise node.refuse("a float32, float16 or int8 weight matrix [rows, columns]", f"{array.dtype}{list(array.shape)}")
        return value

    def vector(self, node: Node, name: str) -> np.ndarray:
        """The constant ``name`` as flat float32."""
        value = self.constants[name]
        array = as_array(value)
        if array.dtype != np.float32:
            raise node.refuse("float32 numbers", f"{array.dtype} in {name!r}")
        return array.reshape(-1)

    def scalar(self, node: Node, name: str) -> float:
        """The constant ``name``, one number."""
        if name not in self.constants:
            raise node.refuse("a constant number", f"{name!r}, which is computed")
        value = self.vector(node, name)
        if value.size != 1:
            raise node.refuse("one number", f"{value.size} in {name!r}")
        return float(value[0])

    def integers(self, node: Node, name: str) -> list[int]:
        """The constant int64 list ``name``."""
        value = self.constants.get(name)
        if not isinstance(value, np.ndarray) or value.dtype.kind != "i":
            raise node.refuse("a constant list of integers", f"{name!r}")
        return [int(v) for v in value.reshape(-1)]
