"""Weights of 2, 3 and 4 bits in training: the grid, its gradient, and the step per row that is learned beside them.

With so few levels the largest weight of a row is a poor choice of its step: most weights would round to 0. A row begins with
the step of least squared error, and training moves the step by its own gradient (learned step size quantization, Esser et al.,
ICLR 2020): inside the grid that of rounding, beyond its ends that of the end.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from .layers import largest_integer

STRETCH = "_stretch"
"""Ends the name of the parameter that changes a matrix's steps in training: log(step / step at the beginning), [rows]."""
SHARES = 96
"""Candidates for a step, evenly spread from a quarter of what reaches the largest weight to all of it."""
LEAST_STEP = 1e-12
"""For rows of zeros."""


def best_step(weight: Tensor, bits: int) -> Tensor:
    """float32 [rows]: the step of least squared error of every row of ``weight`` [rows, columns] among SHARES candidates.

    Weights that lie on a grid already, up to its ends, keep their step: the first candidate reaches the largest weight.
    """
    weight = weight.detach()
    widest = weight.abs().amax(dim=1) / largest_integer(bits)
    best, least = widest, torch.full_like(widest, math.inf)
    for share in torch.linspace(1.0, 0.25, SHARES).tolist():
        step = (widest * share).clamp_min(LEAST_STEP)
        error = (on_grid(weight, step, bits)[1] - weight).square().sum(dim=1)
        better = error < least
        best, least = torch.where(better, step, best), torch.where(better, error, least)
    return best.clamp_min(LEAST_STEP)


def on_grid(weight: Tensor, step: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """(integers as float, integers times step), [rows, columns]; gradients reach weights inside the grid, and the step."""
    most = largest_integer(bits)
    place = (weight / step[:, None]).clamp(-most, most)
    q = torch.round(place).detach()
    return q, (place + (q - place).detach()) * step[:, None]


def stretched(step: Tensor, stretch: Tensor, columns: int) -> Tensor:
    """step * e^stretch, [rows]; the gradient is divided by sqrt(columns), as a whole row pulls at one number (Esser et al.)."""
    gentle = stretch / math.sqrt(columns)
    return step * torch.exp(gentle + (stretch - gentle).detach())
