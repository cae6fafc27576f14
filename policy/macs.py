"""How many multiplications and additions a decision takes: what time is about proportional to."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from .conv import Conv2d
from .layers import HashedLinear, Layer, tensor_shapes


def macs(layers: Sequence[Layer]) -> int:
    """Of all matrices and kernels, zeros and padding among them; what is elementwise is not counted.

    Without convolutions that is the number of weights in matrices: each is multiplied once.
    """
    total = 0
    for layer in layers:
        if isinstance(layer, Conv2d):
            total += layer.macs
        elif isinstance(layer, HashedLinear):
            total += layer.in_size * layer.out_size
        else:
            total += sum(prod(shape) for shape, _ in tensor_shapes(layer).values() if len(shape) == 2)
    return total
