"""What every dense layer says of its weights, whatever numbers they are."""

from __future__ import annotations

import numpy as np


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
