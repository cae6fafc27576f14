"""Activations in torch, by the name that a bundle calls them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

ACTIVATIONS: dict[str, Callable[[Tensor, float], Tensor]] = {
    "tanh": lambda x, _: torch.tanh(x),
    "relu": lambda x, _: F.relu(x),
    "elu": lambda x, alpha: F.elu(x, alpha),
    "silu": lambda x, _: F.silu(x),
    "sigmoid": lambda x, _: torch.sigmoid(x),
    "softsign": lambda x, _: F.softsign(x),
    "leaky_relu": lambda x, alpha: F.leaky_relu(x, alpha),
    "gelu": lambda x, _: F.gelu(x, approximate="tanh"),
    "selu": lambda x, _: F.selu(x),
    "softplus": lambda x, _: F.softplus(x),
    "mish": lambda x, _: F.mish(x),
    "hardswish": lambda x, _: F.hardswish(x),
}
"""x of any shape, and the alpha of those that have one."""
