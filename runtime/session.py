"""A session: an artifact that acts. Every back-end offers these few methods and nothing else."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np

from ..errors import BadInput
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


def state_size(contract: Contract) -> int:
    """S: how many float32 values the policy carries from decision to decision."""
    return sum(tensor.size for tensor in contract.state)


def action_size(contract: Contract) -> int:
    """How many values one action has: the action's size, or 1 for an index."""
    return 1 if contract.action.kind == "discrete" else contract.action.size


def checked_observation(contract: Contract, obs: Any) -> np.ndarray:
    """``obs`` as float32 [observation size]; BadInput if it is no numeric vector of that length."""
    size = contract.observation.size
    try:
        array = np.asarray(obs)
        found = f"shape {array.shape}"
        if array.shape == (size,):
            if array.dtype.kind in "fiub":
                return array.astype(np.float32, copy=False)
            found = f"values of type {array.dtype}"
    except ValueError as error:
        found = f"a {type(obs).__name__} that is no array ({error})"
    raise BadInput("observation", expected=f"float32 of shape ({size},), one entry per contract entry", found=found)


def checked_state(contract: Contract, flat: Any) -> np.ndarray:
    """``flat`` as float32 [S], all recurrent tensors in contract order; BadInput otherwise."""
    array, size = np.asarray(flat, np.float32), state_size(contract)
    if array.shape != (size,):
        names = ", ".join(f"{tensor.name}[{tensor.size}]" for tensor in contract.state) or "none"
        raise BadInput("state", expected=f"float32 of shape ({size},): {names}", found=f"shape {array.shape}")
    return array
