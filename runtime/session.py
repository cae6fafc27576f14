"""A session: an artifact that acts. Every back-end offers these few methods and nothing else."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

import numpy as np

from ..policy.contract import Contract


@runtime_checkable
class Session(Protocol):
    """One policy, one episode at a time, batch 1; also satisfied by :class:`pilotfish.policy.reference.Reference`."""

    contract: Contract
    state: np.ndarray
    """All recurrent tensors concatenated in contract order, float32 [S]; may be set (S = 0: empty)."""

    def reset(self) -> None:
        """Start an episode: the state goes back to zero."""

    def act(self, obs: np.ndarray) -> np.ndarray:
        """obs float32 [observation size] -> continuous: float32 [action size]; discrete: int64 [1]. Advances the state."""

    def close(self) -> None:
        """Release what the session holds."""
