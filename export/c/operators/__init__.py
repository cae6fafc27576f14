"""The operators of the C back-end, one short class each. A new one is a class and a line in this table."""

from __future__ import annotations

from .activation import FORMULAS as ACTIVATIONS
from .activation import Activation
from .chain import Chain
from .conv import Conv
from .dense import Dense
from .depthwise import DepthwiseConv
from .elementwise import FORMULAS as ARITHMETIC
from .elementwise import Elementwise
from .fused import Fused
from .gather import Gather
from .integer import DenseInteger, Quantize
from .layer_norm import LayerNorm
from .move import Copy, View
from .operator import Operator, Scope, number
from .push import Push
from .reduce import ArgMax, Softmax

OPERATORS: dict[str, type[Operator]] = {
    "Dense": Dense,
    "Fused": Fused,
    "Chain": Chain,
    "Conv": Conv,
    "ConvInteger": Conv,
    "DepthwiseConv": DepthwiseConv,
    "Quantize": Quantize,
    "DenseInteger": DenseInteger,
    "LayerNormalization": LayerNorm,
    "Softmax": Softmax,
    "ArgMax": ArgMax,
    "Concat": Copy,
    "Push": Push,
    "Gather": Gather,
    **dict.fromkeys(ARITHMETIC, Elementwise),
    **dict.fromkeys(ACTIVATIONS, Activation),
    **dict.fromkeys(("Split", "Slice", "Identity", "Reshape", "Squeeze", "Unsqueeze", "Flatten", "Transpose"), View),
}
"""Operator (as in ONNX, and FakeQuantize) -> the class that reads and prints it."""

READ_ONLY = ("QuantizeLinear", "DequantizeLinear", "Constant", "Gemm", "MatMul", "Round")
"""Operators that the reader and the rewrites turn into constants, FakeQuantize and Dense."""

__all__ = ["OPERATORS", "READ_ONLY", "Operator", "Scope", "number"]
