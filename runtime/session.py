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


@runtime_checkable
class Preallocated(Session, Protocol):
    """A session that also decides without making an array, and many times in one call (the C back-end's does)."""

    def act_into(self, obs: np.ndarray, out: np.ndarray) -> None:
        """:meth:`Session.act` into ``out``: C-contiguous, writeable, float32 [action size] or int64 [1], memory of its own."""

    def act_batch(self, obs: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
        """obs float32 [N, n] -> float32 [N, m] or int64 [N, 1]: N decisions that know nothing of each other.

        Written to ``out`` where that is given. Unsupported for a recurrent policy: N rows would need N states.
        """


def state_size(contract: Contract) -> int:
    """S: how many float32 values the policy carries from decision to decision."""
    return sum(tensor.size for tensor in contract.state)


def action_size(contract: Contract) -> int:
    """How many values one action has: the action's size, or 1 for an index."""
    return 1 if contract.action.kind == "discrete" else contract.action.size


def action_type(contract: Contract) -> type[np.generic]:
    """What a session's actions are made of: float32, or int64 for an index."""
    return np.int64 if contract.action.kind == "discrete" else np.float32


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


def checked_rows(contract: Contract, obs: Any) -> np.ndarray:
    """``obs`` as C-contiguous float32 [N, n], one observation per row; BadInput if it is no numeric matrix of that width."""
    size = contract.observation.size
    try:
        array = np.asarray(obs)
        found = f"shape {array.shape}"
        if array.ndim == 2 and array.shape[1] == size:
            if array.dtype.kind in "fiub":
                return np.require(array, np.float32, ["C", "A", "E"])
            found = f"values of type {array.dtype}"
    except ValueError as error:
        found = f"a {type(obs).__name__} that is no array ({error})"
    raise BadInput("observations", expected=f"float32 of shape (N, {size}), one observation per row", found=found)


def checked_output(contract: Contract, out: Any, shape: tuple[int, ...], obs: Any = None) -> None:
    """BadInput unless ``out`` is an array of ``shape`` that actions can be written to while ``obs`` is being read."""
    wanted = np.dtype(action_type(contract))
    if type(out) is not np.ndarray:
        found = f"a {type(out).__name__}"
    elif out.dtype != wanted or out.shape != shape:
        found = f"{out.dtype} of shape {out.shape}"
    elif not (out.flags.carray and out.dtype is wanted):
        found = "one that is not contiguous, aligned, writeable and in the machine's byte order"
    elif type(obs) is np.ndarray and np.may_share_memory(obs, out):
        found = "memory that it shares with the observation"
    else:
        return
    raise BadInput("out", expected=f"a writeable, contiguous NumPy array of its own, {wanted} of shape {shape}", found=found)
