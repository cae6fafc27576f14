"""A graph hypernetwork: from the graph of an actor to estimates of all its weights, for many architectures at once.

After HyperPPO (Hegde et al. 2023, arXiv 2309.16663) and the graph hypernetworks it builds on (Zhang et al. 2019, arXiv
1810.05749; Knyazev et al. 2021, arXiv 2110.13100): the linear layers of an actor are the nodes of a chain; gated message passing
(Li et al. 2016, arXiv 1511.05493) tells each node of the others; a decoder turns what a node knows into its matrix, as the
leading rows and columns of one of the largest size. Not theirs: the decoder is a sum of basis matrices, weighted by the node's
embedding, instead of a deep one, which a processor can afford in every gradient step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from .family import Family, Lottery, Member

FEATURES = 6
"""Numbers that describe a node before they are encoded."""
FREQUENCIES = (1, 2, 4)
"""Of the angles that encode a number: neighboring widths are to look different."""
SOME = 256
"""Architectures whose mean embedding is where embeddings are counted from."""
OUT_GAIN = 0.01
"""The first actions are near the middle of their range (Andrychowicz et al. 2020, arXiv 2006.05990)."""
SPEED = 0.3
"""Weights are this times what is learned: Adam moves every learned number by about the learning rate, and here offset, basis and
embedding move a weight together, for all architectures at once. With 1, updates went five times as far as wanted."""


@dataclass(frozen=True, eq=False)
class Graphs:
    """A architectures, padded to D hidden layers; node D is the output layer."""

    features: Tensor
    """float32 [A, D + 1, FEATURES], each from 0 to 1: widths in and out, places from both ends, activation, is output."""
    alive: Tensor
    """float32 [A, D + 1, 1]: 1 where there is such a layer."""
    before: Tensor
    """int64 [A, D + 1]: the layer whose output a layer reads; a layer that reads the observation names itself."""
    after: Tensor
    """int64 [A, D + 1]: the layer that reads it; the output layer names itself."""
    rows: Tensor
    """float32 [A, D, W]: 1 for the units that a hidden layer has."""
    relu: Tensor
    """bool [A, 1, 1]."""
    scales: Tensor
    """float32 [A, D + 1]: factor of a matrix, so that its entries suit the number of its columns."""
    depths: Tensor
    """int64 [A]: hidden layers."""
    activations: frozenset[str]
    """Those that occur."""


def graphs_of(members: list[Member], family: Family, ends: tuple[int, int], device: torch.device) -> Graphs:
    """The graphs of ``members``, all of ``family``, between these sizes of observation and action."""
    deepest, widest, count = family.depth[1], family.widest, len(members)
    depth = np.array([len(member.hidden) for member in members])[:, None]
    # Columns: the D hidden layers, then the output layer. A layer that is not there has width 1, and is not alive.
    fan_out = np.ones((count, deepest + 1))
    for row, member in enumerate(members):
        fan_out[row, : len(member.hidden)] = member.hidden
    fan_out[:, deepest] = ends[1]
    fan_in = np.concatenate([np.full((count, 1), ends[0]), fan_out[:, :-1]], axis=1)
    fan_in[:, deepest] = np.take_along_axis(fan_out, depth - 1, axis=1)[:, 0]
    column = np.broadcast_to(np.arange(deepest + 1), (count, deepest + 1))
    output, alive = column == deepest, (column < depth) | (column == deepest)
    index = np.where(output, depth, column)
    relu = np.array([member.activation == "relu" for member in members])[:, None]
    top = math.log(max(widest, *ends) + 1)
    features = np.stack(
        [
            np.log(fan_in + 1) / top, np.log(fan_out + 1) / top, index / deepest, (depth - index) / deepest,
            np.broadcast_to(relu, column.shape), output,
        ],
        axis=-1,
    )  # fmt: skip
    before = np.where(output, depth - 1, np.maximum(column - 1, 0))
    after = np.where(output | (column == depth - 1), deepest, column + 1)

    def moved(array: np.ndarray, kind: torch.dtype) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(array)).to(device, kind)

    return Graphs(
        features=moved(features * alive[..., None], torch.float32),
        alive=moved(alive[..., None], torch.float32),
        before=moved(np.where(alive, before, column), torch.int64),
        after=moved(np.where(alive, after, column), torch.int64),
        rows=moved((np.arange(widest) < fan_out[:, :-1, None]) & alive[:, :-1, None], torch.float32),
        relu=moved(relu[:, None], torch.bool),
        # The largest matrix has a column per unit of the widest layer: a narrower one needs larger entries.
        scales=moved(np.where(column == 0, 1.0, np.sqrt(widest / fan_in)), torch.float32),
        depths=moved(depth[:, 0], torch.int64),
        activations=frozenset(member.activation for member in members),
    )


class Hypernetwork(nn.Module):
    """Estimates the weights of every member of ``family`` between these sizes of observation and action."""

    def __init__(self, family: Family, ends: tuple[int, int], generator: torch.Generator) -> None:
        super().__init__()
        self.family, self.ends = family, ends
        self.middle: Tensor
        width, size, widest = family.embedding, family.depth[1], family.widest
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(2**31, (1,), generator=generator)))
            self.encode = nn.Linear(FEATURES * (2 * len(FREQUENCIES) if family.invariant else 1), width)
            self.message = nn.Linear(2 * width, width)
            self.gate = nn.GRUCell(width, width)
            kinds = size * size
            shapes = {"first": (kinds, widest, ends[0]), "middle": (kinds, widest, widest), "last": (kinds, ends[1], widest)}
            gain = math.sqrt(2) if "relu" in family.activations else 5 / 3
            for name, shape in shapes.items():
                drawn = torch.empty(shape)
                for matrix in drawn:
                    nn.init.orthogonal_(matrix, OUT_GAIN if name == "last" else gain)
                if name == "first":
                    # An orthogonal matrix with more rows than columns has entries for its rows; a few of them are to be used.
                    drawn *= math.sqrt(max(widest / ends[0], 1.0))
                drawn /= SPEED
                basis = torch.zeros(width, *shape[1:])
                if not family.invariant:
                    basis = torch.randn(basis.shape) * drawn.std()
                    drawn.zero_()
                self.register_parameter(f"{name}_basis", nn.Parameter(basis))
                self.register_parameter(f"{name}_bias_basis", nn.Parameter(torch.zeros(width, shape[1])))
                for part, tensor in ((f"{name}_offset", drawn), (f"{name}_bias_offset", torch.zeros(shape[:2]))):
                    if family.invariant:
                        self.register_parameter(part, nn.Parameter(tensor))
                    else:
                        self.register_buffer(part, tensor, persistent=False)

        # What all nodes have in common is the offsets' business; embeddings are to tell them apart.
        self.register_buffer("middle", torch.zeros(width))
        some = graphs_of(Lottery(family, ends).draw(SOME, np.random.default_rng(0)), family, ends, torch.device("cpu"))
        with torch.no_grad():
            self.middle = self._heard(some)[some.alive[..., 0] > 0].mean(0)

    def embeddings(self, graphs: Graphs) -> Tensor:
        """What each node knows, float32 [A, D + 1, embedding], of norm 1."""
        return nn.functional.normalize(self._heard(graphs) - self.middle, dim=-1)

    def _heard(self, graphs: Graphs) -> Tensor:
        features = graphs.features
        if self.family.invariant:
            angle = torch.cat([features * (math.pi / 2 * frequency) for frequency in FREQUENCIES], dim=-1)
            features = torch.cat([angle.cos(), angle.sin()], dim=-1)
        h = torch.tanh(self.encode(features)) * graphs.alive
        shape = (-1, -1, h.shape[-1])
        before, after = (places[..., None].expand(shape) for places in (graphs.before, graphs.after))
        for _ in range(self.family.depth[1]):  # as often as the longest chain has links: every node has heard of every other
            heard = self.message(torch.cat([h.gather(1, before), h.gather(1, after)], dim=-1))
            h = self.gate(heard.flatten(0, 1), h.flatten(0, 1)).view_as(h) * graphs.alive
        return h

    def forward(self, graphs: Graphs) -> list[tuple[Tensor, Tensor]]:
        """(matrix [A, out, in], bias [A, 1, out]) of each of the D hidden layers and of the output layer, zero where padded."""
        z, scales = self.embeddings(graphs), graphs.scales
        deepest, layers = self.family.depth[1], []
        for index in range(deepest + 1):
            last = index == deepest
            name = "last" if last else "first" if index == 0 else "middle"
            kind = (graphs.depths - 1) * deepest + (0 if last else index)
            basis, offset = getattr(self, f"{name}_basis"), getattr(self, f"{name}_offset")[kind]
            matrix = torch.tensordot(z[:, index], basis, 1) + offset
            bias = z[:, index] @ getattr(self, f"{name}_bias_basis") + getattr(self, f"{name}_bias_offset")[kind]
            there = graphs.rows[:, index] if not last else torch.ones_like(bias)
            matrix = matrix * (SPEED * scales[:, index, None] * there)[..., None]
            bias = bias * (SPEED * there)
            layers.append((matrix, bias[:, None]))
        return layers


def act(layers: list[tuple[Tensor, Tensor]], graphs: Graphs, x: Tensor) -> Tensor:
    """x float32 [A, n, observation size] -> y [A, n, action size]: A actors, each on rows of its own.

    Units that a layer lacks give 0, and what reads them multiplies 0; a layer that an actor lacks passes on what it was given.
    """
    h = x
    for index, (matrix, bias) in enumerate(layers[:-1]):
        y = torch.baddbmm(bias, h, matrix.mT)
        if len(graphs.activations) > 1:
            y = torch.where(graphs.relu, y.relu(), y.tanh())
        else:
            y = y.relu() if "relu" in graphs.activations else y.tanh()
        # The first layer is everybody's.
        h = y if index == 0 else torch.where(graphs.alive[:, index, None] > 0, y, h)
    matrix, bias = layers[-1]
    return torch.baddbmm(bias, h, matrix.mT)
