"""The contract of a GPU peer.

A module ``on_NAME.py`` offers ``make(workload, device) -> Iterator[Contestant | Refusal]``; ImportError says that it is not
installed. ``device`` is "cuda" or "cpu"; the latter tries the script where there is no GPU.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from pilotfish.policy.bundle import Policy


@dataclass(frozen=True)
class Workload:
    """A policy and how many decisions are made at once."""

    name: str
    """As in the table."""
    policy: Policy
    """Weights and contract."""
    batch: int
    """Rows of an observation."""

    @property
    def state_sizes(self) -> tuple[tuple[str, int], ...]:
        """(name, size) of every recurrent tensor."""
        return tuple((tensor.name, tensor.size) for tensor in self.policy.contract.state)


@dataclass
class Contestant:
    """One line of the table for one workload."""

    label: str
    """As in the table, such as "TensorRT-RTX 1.7.1, fp32"."""
    act: Callable[[np.ndarray], np.ndarray]
    """float32 [batch, n] in host memory -> float32 [batch, m] in host memory; the state stays inside and advances."""
    reset: Callable[[], None]
    """The state goes back to zero."""
    close: Callable[[], None] = lambda: None
    """Frees what it holds."""
    gpu_us: Callable[[int], np.ndarray] | None = None
    """samples -> microseconds that the GPU alone takes, without transfers; None: not offered."""
    exact: bool = True
    """False: computes in less than float32, and is judged by a wider bound."""
    notes: dict[str, Any] = field(default_factory=dict)
    """Versions, provider, build time."""


@dataclass(frozen=True)
class Refusal:
    """Why there is no such contestant, in the runtime's own words."""

    label: str
    words: str
