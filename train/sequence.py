"""Networks with a memory, learned through time; their recurrent matrices may be sparse or of low rank."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from ..policy.cells import GRU, LSTM, CfC
from ..policy.layers import Layers, Weights
from ..policy.network import Network, State
from .actor import initialize
from .flat import flatten
from .through_time import unroll


def recurrent_columns(layers: Layers) -> dict[str, int]:
    """Name of every matrix that reads the memory -> its first column that does (a CfC's first matrices read input and memory)."""
    found: dict[str, int] = {}
    for layer in layers:
        if isinstance(layer, GRU | LSTM):
            found[f"{layer.name}.weight_hh"] = 0
        elif isinstance(layer, CfC):
            readers = ["backbone0"] if layer.backbone else ["ff1", "ff2", "time_a", "time_b"]
            found |= {f"{layer.name}.{part}_weight": layer.in_size for part in readers}
    return found


class LowRankNetwork(Network):
    """A network whose recurrent matrices are products of two thin ones, W[:, memory] = U V with ``rank`` columns in U.

    What reads the input keeps its full rank. ``to_weights`` multiplies out: the bundle holds W, whose rank a factorizing pass
    finds again. Low-rank recurrence as in Tumma et al., ICLR 2024 (openreview EriR6Ec69a).
    """

    def __init__(self, layers: Layers, rank: int) -> None:
        super().__init__(layers)
        self.columns = recurrent_columns(layers)
        for name, first in self.columns.items():
            key = name.replace(".", "__")
            whole = getattr(self, key)
            delattr(self, key)
            rows, width = whole.shape[0], whole.shape[1] - first
            if first:
                self.register_parameter(f"{key}_input", nn.Parameter(whole[:, :first].detach().clone()))
            self.register_parameter(f"{key}_u", nn.Parameter(torch.zeros(rows, min(rank, rows, width))))
            self.register_parameter(f"{key}_v", nn.Parameter(torch.zeros(min(rank, rows, width), width)))

    def tensor(self, name: str) -> Tensor:
        """A parameter as the forward pass sees it: recurrent matrices multiplied out."""
        if name not in self.columns:
            return super().tensor(name)
        key = name.replace(".", "__")
        product = getattr(self, f"{key}_u") @ getattr(self, f"{key}_v")
        return torch.cat([getattr(self, f"{key}_input"), product], dim=1) if self.columns[name] else product

    @torch.no_grad()
    def to_weights(self) -> Weights:
        """Bundle tensors, float32."""
        parts = {f"{name}_{part}" for name in self.columns for part in ("u", "v", "input")}
        kept = {name: tensor for name, tensor in super().to_weights().items() if name not in parts}
        return kept | {name: self.tensor(name).cpu().numpy().copy() for name in self.columns}

    @torch.no_grad()
    def draw(self, generator: torch.Generator) -> None:
        """U and V such that the entries of U V have the variance of a recurrent matrix of full rank, 1 / (3 H)."""
        for name, first in self.columns.items():
            key = name.replace(".", "__")
            u, v = getattr(self, f"{key}_u"), getattr(self, f"{key}_v")
            rank, width = v.shape
            for tensor in (u, v):
                tensor.normal_(0.0, (1 / (3 * width * rank)) ** 0.25, generator=generator)
            if first:
                bound = 1 / math.sqrt(width)
                getattr(self, f"{key}_input").uniform_(-bound, bound, generator=generator)


class Sequence:
    """x [T, B, in] -> y [T * B, out] with a memory, through autograd; parameters and gradient in ``flat``.

    The first layer is the recurrent one, the others have no memory.
    ``rank``: of the recurrent matrices; None: full. ``sparsity``: share of the entries of the recurrent matrices that are
    zero from the beginning to the end, drawn at random from ``generator``.
    """

    def __init__(
        self, layers: Layers, generator: torch.Generator, device: torch.device, out_gain: float | None,
        rank: int | None = None, sparsity: float = 0.0,
    ) -> None:  # fmt: skip
        with torch.random.fork_rng(devices=[]):
            network = Network(layers) if rank is None else LowRankNetwork(layers, rank)
        if isinstance(network, LowRankNetwork):
            network.draw(generator)
        self.network = initialize(network, generator, out_gain).to(device)
        self.flat = flatten(self.network, device)
        self.mask: Tensor | None = None
        if sparsity:
            self.mask = self._draw_mask(layers, sparsity, generator).to(device)
            self.flat.value.mul_(self.mask)
        cell = layers[0]
        assert isinstance(cell, GRU | LSTM | CfC)
        self._cell = cell
        self._y = torch.empty(0)

    def _draw_mask(self, layers: Layers, sparsity: float, generator: torch.Generator) -> Tensor:
        first_columns = {name.replace(".", "__"): first for name, first in recurrent_columns(layers).items()}
        masks = []
        for name, parameter in self.network.named_parameters():
            mask = torch.ones(parameter.shape)
            if name in first_columns:
                part = mask[:, first_columns[name] :]
                dead = torch.randperm(part.numel(), generator=generator)[: round(sparsity * part.numel())]
                part.copy_(part.reshape(-1).index_fill(0, dead, 0.0).view(part.shape))
            masks.append(mask.flatten())
        return torch.cat(masks)

    def initial_state(self, rows: int) -> State:
        """Zeros."""
        return self.network.initial_state(rows)

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """One decision without gradients: x [B, in] -> (y [B, out], next state)."""
        with torch.no_grad():
            return self.network(x, state)

    def forward(self, x: Tensor, state: State, started: Tensor) -> Tensor:
        """x [T, B, in] from ``state``; ``started`` [T, B] is 1 where an episode begins, and forgets -> y [T * B, out]."""
        with torch.enable_grad():
            h = unroll(self.network, self._cell, x, state, started)
            self._y = self.network.after(h.flatten(0, 1), 1)
        return self._y.detach()

    def backward(self, dy: Tensor) -> None:
        """Fill ``flat.gradient`` from dy [T * B, out]."""
        self.flat.gradient.zero_()
        with torch.enable_grad():
            self._y.backward(dy)
        if self.mask is not None:  # Adam leaves alone what has never had a gradient
            self.flat.gradient.mul_(self.mask)

    def weights(self) -> Weights:
        """Bundle tensors."""
        return self.network.to_weights()
