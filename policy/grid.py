"""The layer that rounds numbers to a grid of integers."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field
from pydantic.dataclasses import dataclass

from ..errors import BadInput
from .fields import STRICT


@dataclass(frozen=True, config=STRICT)
class Quantize:
    """Activations on an integer grid: y = (q - zero_point) * scale, q = clip(round_half_even(x / scale) + zero_point)."""

    scale: Annotated[float, Field(gt=0)]
    """Width of one step, in the unit of x."""
    zero_point: Annotated[int, Field(ge=-32768, le=32767)]
    """The integer that stands for x = 0, between low and high."""
    bits: Literal[8, 16] = 8
    """8: low and high are -128 and 127; 16: -32768 and 32767."""
    kind: Literal["quantize"] = "quantize"

    def __post_init__(self) -> None:
        if not self.low <= self.zero_point <= self.high:
            expected = f"a zero point in [{self.low}, {self.high}], as {self.bits} bits hold"
            raise BadInput("quantize layer", expected=expected, found=f"{self.zero_point}")

    @property
    def low(self) -> int:
        """Smallest integer of the grid."""
        return -(1 << self.bits - 1)

    @property
    def high(self) -> int:
        """Largest integer of the grid."""
        return (1 << self.bits - 1) - 1
