"""Which weights of a pool stay, and which grow: pure functions of tensors."""

from __future__ import annotations

import torch
from torch import Tensor


def best(score: Tensor, among: Tensor, number: int) -> Tensor:
    """bool [n]: the ``number`` entries of ``among`` (bool [n]) with the highest score [n]; of equal ones the first."""
    order = torch.argsort(score.masked_fill(~among, -torch.inf), descending=True, stable=True)
    chosen = torch.zeros_like(among)
    chosen[order[:number]] = True
    return chosen


def moved(share: float, alive: int, size: int) -> int:
    """How many of ``alive`` weights of ``size`` places a change moves: the nearest number to the share, if there is room."""
    return min(round(share * alive), size - alive)


def changed(mask: Tensor, weight: Tensor, score: Tensor, kept: int, drop: int = 0) -> Tensor:
    """The mask (bool [n]) after a change: exactly ``kept`` entries of it are true.

    The smallest magnitudes of ``weight`` go: as many as are too many, and ``drop`` more. Then the highest ``score`` [n] grow
    until there are ``kept``; as in Evci et al. 2020 (arXiv 1911.11134) also what was just dropped may, and keeps its weight.
    Where ``drop`` is 0 and there are not too few, nothing grows.
    """
    survivors = max(min(int(mask.sum()), kept) - drop, 0)
    stays = best(weight.abs(), mask, survivors)
    return stays | best(score, ~stays, kept - survivors)
