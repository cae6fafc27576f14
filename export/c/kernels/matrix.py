"""What every dense layer says of its weights, whatever numbers they are."""

from __future__ import annotations

import numpy as np

from ....policy.layers import largest_integer


class Matrix:
    """A base for layers with ``weight`` [out, in]."""

    weight: np.ndarray

    @property
    def rows(self) -> int:
        """Outputs."""
        return int(self.weight.shape[0])

    @property
    def columns(self) -> int:
        """Inputs."""
        return int(self.weight.shape[1])

    @property
    def live(self) -> int:
        """Weights that are not zero."""
        return int(np.count_nonzero(self.weight))

    @property
    def density(self) -> float:
        """Share of weights that are not zero."""
        return self.live / self.weight.size if self.weight.size else 0.0

    @property
    def bits(self) -> int:
        """Fewest of 2, 3, 4 and 8 bits that hold every weight beside as many below 0; 16 or 32 for floats."""
        if self.weight.dtype != np.int8:
            return 8 * self.weight.itemsize
        most = int(np.abs(self.weight.astype(np.int16)).max(initial=0))
        return next(bits for bits in (2, 3, 4, 8) if bits == 8 or most <= largest_integer(bits))
