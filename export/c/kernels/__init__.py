"""Ways of computing a dense layer in C, and the choice of the cheapest for a machine."""

from __future__ import annotations

from .block import Block
from .choice import Choice
from .constant import Constant
from .csr import Csr
from .half import HalfScalar
from .hashed import Hashed
from .int8_rows import Int8Bytes, Int8Pairs
from .int8_vector import Int8Vector
from .integer_layer import IntegerLayer
from .kernel import Kernel, choose
from .layer import DenseLayer
from .narrow_rows import NarrowRows
from .narrow_scalar import NarrowScalar
from .scalar import Scalar
from .scalar_int8 import ScalarInt8
from .straight import Straight
from .straight_block import StraightBlock
from .vector import Vector

KERNELS: tuple[Kernel[DenseLayer], ...] = (
    Constant(),
    Scalar(),
    ScalarInt8(),
    NarrowScalar(),
    HalfScalar(),
    Vector(),
    Block(),
    Csr(),
    Straight(),
    StraightBlock(),
    Hashed(),
)
"""In order of preference among equals. A new kernel is a line here."""
INTEGER_KERNELS: tuple[Kernel[IntegerLayer], ...] = (Int8Bytes(), Int8Pairs(), Int8Vector(), NarrowRows())
"""The same for integer layers."""

__all__ = ["INTEGER_KERNELS", "KERNELS", "Choice", "DenseLayer", "Kernel", "choose"]
