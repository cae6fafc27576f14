"""A rollout cut into minibatches: shuffled rows, or for networks with a memory whole columns (environments)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from ..policy.network import State
from .rollout import Rollout


@dataclass(frozen=True, eq=False)
class Batch:
    """What one gradient step learns from; B decisions. With a memory, x and started are [T, b] with T * b = B."""

    obs: Tensor
    """float32 [B, observation size] or [T, b, observation size]."""
    seen: Tensor
    """What the critic sees, in the same shape."""
    action: Tensor
    """float32 [B, columns of the head]."""
    log_prob: Tensor
    """float32 [B], when the actions were taken."""
    advantage: Tensor
    """float32 [B]."""
    target: Tensor
    """float32 [B], of the value."""
    started: Tensor
    """float32 [T, b]: 1 where an episode begins; without meaning for rows."""
    memory: State = ()
    """The actor's recurrent tensors before the first step, [b, size] each."""
    judgement: State = ()
    """The critic's."""


class Table(Protocol):
    """The decisions of a rollout."""

    def minibatches(self, size: int, random: np.random.Generator) -> Iterator[Batch]:
        """One epoch, with about ``size`` decisions a batch."""


class Rows:
    """All decisions of a rollout as one table, so that an epoch's shuffle is one gather and a minibatch one slice."""

    def __init__(self, rollout: Rollout, advantage: Tensor, target: Tensor) -> None:
        parts = [rollout.obs, rollout.action, *(part.float()[..., None] for part in (rollout.log_prob, advantage, target))]
        self._own_eyes = rollout.seen is not rollout.obs
        if self._own_eyes:
            parts.append(rollout.seen)
        self._widths = [part.shape[-1] for part in parts]
        self._table = torch.cat(parts, dim=-1).flatten(0, 1)

    def minibatches(self, size: int, random: np.random.Generator) -> Iterator[Batch]:
        """One epoch. The last transitions of the shuffle wait for the next one: a ragged rest would be a noisy step."""
        order = torch.from_numpy(random.permutation(len(self._table)))
        shuffled = self._table.index_select(0, order.to(self._table.device))
        for rows in shuffled[: len(shuffled) // size * size].split(size):
            obs, action, log_prob, advantage, target, *seen = rows.split(self._widths, dim=1)
            yield Batch(obs, seen[0] if seen else obs, action, log_prob[:, 0], advantage[:, 0], target[:, 0], obs)


class Columns:
    """Environments of a rollout, each with all its steps."""

    def __init__(self, rollout: Rollout, advantage: Tensor, target: Tensor, judgement: State) -> None:
        self._rollout, self._judgement = rollout, judgement
        self._flat = (rollout.action, rollout.log_prob, advantage.float(), target.float())

    def minibatches(self, size: int, random: np.random.Generator) -> Iterator[Batch]:
        """One epoch, with as many environments a batch as make about ``size`` decisions, at least one."""
        rollout = self._rollout
        steps, n = rollout.reward.shape
        width = min(n, max(1, size // steps))
        order = torch.from_numpy(random.permutation(n)).to(rollout.obs.device)
        for picked in order[: n // width * width].split(width):
            action, log_prob, advantage, target = (part.index_select(1, picked).flatten(0, 1) for part in self._flat)
            obs, seen, started = (part.index_select(1, picked) for part in (rollout.obs, rollout.seen, rollout.started))
            memory, judgement = (tuple(t.index_select(0, picked) for t in s) for s in (rollout.memory, self._judgement))
            # A critic without a memory takes rows.
            yield Batch(
                obs, seen if judgement else seen.flatten(0, 1), action, log_prob, advantage, target, started, memory, judgement
            )  # fmt: skip
