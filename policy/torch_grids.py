"""Rounding in torch, whose gradient passes straight through: integers by rows, activations on a grid, float16."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .grid import Quantize


def straight_through(rounded: Tensor, x: Tensor) -> Tensor:
    """Value of ``rounded``, gradient of ``x`` (straight-through estimator, Bengio et al. 2013)."""
    return x + (rounded - x).detach()


def int8_rows(weight: Tensor) -> tuple[Tensor, Tensor]:
    """Symmetric per-row int8 grid: (q float [-127, 127], scale [rows])."""
    scale = weight.detach().abs().amax(dim=1).clamp_min(1e-12) / 127
    return torch.round(weight / scale[:, None]).clamp(-127, 127), scale


def on_steps(grid: Quantize, x: Tensor) -> Tensor:
    """x on the grid; gradients pass straight through inside it."""
    step, zero = float(np.float32(grid.scale)), grid.zero_point
    rounded = ((torch.round(x / step) + zero).clamp(grid.low, grid.high) - zero) * step
    return straight_through(rounded, x.clamp((grid.low - zero) * step, (grid.high - zero) * step))


def half(weight: Tensor) -> Tensor:
    """Every weight as the float16 next to it, or the largest there is, as float32."""
    largest = torch.finfo(torch.float16).max
    return weight.detach().clamp(-largest, largest).to(torch.float16).float()
