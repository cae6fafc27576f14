"""Tables of small numbers, in the narrowest type that holds them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ....errors import Unsupported


def small(numbers: Sequence[int] | np.ndarray) -> np.ndarray:
    """Numbers from 0 on as uint8 or uint16. Raises Unsupported for larger ones."""
    array = np.asarray(numbers, np.int64).reshape(-1)
    largest = int(array.max(initial=0))
    if largest > 65535:
        raise Unsupported("sparse layer", expected="at most 65,536 inputs", found=f"index {largest:,}")
    return array.astype(np.uint8 if largest < 256 else np.uint16)


def c_type(array: np.ndarray) -> str:
    """The C type of a table's entries."""
    return "float" if array.dtype == np.float32 else f"{array.dtype.name}_t"
