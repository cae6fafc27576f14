"""What the fields of layers are made of: names, sizes and bits, with their bounds."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

STRICT = ConfigDict(extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)
Name = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", max_length=64)]
MAX_SIZE = 1_000_000
"""Longest vector between two layers."""
Size = Annotated[int, Field(gt=0, le=MAX_SIZE)]
Bits = Literal[2, 3, 4, 8, 16, 32]
"""Bits of a weight: 32 is float32 and 16 is float16, which takes half the room and is computed with as float32; fewer are signed
integers, the same distance to either side of 0, with a scale per row."""
