"""The operators of the C back-end, one short class each. A new one is a class and a line in this table."""

from __future__ import annotations

from .activation import FORMULAS as ACTIVATIONS
from .activation import Activation
from .dense import Dense
from .elementwise import FORMULAS as ARITHMETIC
from .elementwise import Elementwise
from .layer_norm import LayerNorm
from .move import Copy, View
from .operator import NARROW, WIDE, Layout, Operator, Scope, number
from .reduce import ArgMax, Softmax

OPERATORS: dict[str, type[Operator]] = {
    "Gemm": Dense,
    "MatMul": Dense,
    "LayerNormalization": LayerNorm,
    "Softmax": Softmax,
    "ArgMax": ArgMax,
    "Concat": Copy,
    **dict.fromkeys(ARITHMETIC, Elementwise),
    **dict.fromkeys(ACTIVATIONS, Activation),
    **dict.fromkeys(("Split", "Slice", "Identity", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Transpose"), View),
}
"""Operator (as in ONNX, and FakeQuantize) -> the class that reads and prints it."""

READ_ONLY = ("QuantizeLinear", "DequantizeLinear", "Constant")
"""Operators that the reader turns into constants or FakeQuantize."""

__all__ = ["NARROW", "OPERATORS", "READ_ONLY", "WIDE", "Layout", "Operator", "Scope", "number"]
