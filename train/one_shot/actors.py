"""The actors of some architectures, whose weights a hypernetwork gives, with the face of one network."""

from __future__ import annotations

import torch
from torch import Tensor

from ...policy.layers import Weights
from ...policy.network import State
from ..flat import flatten
from .family import Family, Member
from .hypernetwork import Graphs, Hypernetwork, act, graphs_of


class Actors:
    """What learns is the hypernetwork (``flat``); what acts are the ``members`` that :meth:`choose` was given last.

    Rows belong to the members in equal shares, in order: the first B / A rows to the first member, and so on.
    """

    def __init__(self, family: Family, ends: tuple[int, int], generator: torch.Generator, device: torch.device) -> None:
        self.family, self.ends, self.device = family, ends, device
        self.network = Hypernetwork(family, ends, generator).to(device)
        self.flat = flatten(self.network, device)
        self.members: list[Member] = []
        self._graphs: Graphs | None = None
        self._layers: list[tuple[Tensor, Tensor]] = []
        self._y = torch.empty(0)

    def follow(self, other: Actors) -> None:
        """Take over what ``other``, perhaps on another device, has learned."""
        self.flat.value.copy_(other.flat.value)
        self.network.middle.copy_(other.network.middle)

    def choose(self, members: list[Member], now: bool = True) -> None:
        """Let these act from now on, with weights of this moment; not ``now``: they will learn, and not act."""
        self.members, self._graphs = members, graphs_of(members, self.family, self.ends, self.device)
        if now:
            with torch.no_grad():
                self._layers = self.network(self._graphs)

    def initial_state(self, rows: int) -> State:
        """Nothing."""
        return ()

    def step(self, x: Tensor, state: State) -> tuple[Tensor, State]:
        """One decision of each row, with the weights that there were when they were chosen: x [B, in] -> y [B, out]."""
        assert self._graphs is not None, "choose() first"
        return act(self._layers, self._graphs, self._shared(x)).flatten(0, 1), ()

    def forward(self, x: Tensor, state: State, started: Tensor) -> Tensor:
        """The same with the weights as they are now, remembering what :meth:`backward` needs."""
        assert self._graphs is not None, "choose() first"
        with torch.enable_grad():
            self._y = act(self.network(self._graphs), self._graphs, self._shared(x)).flatten(0, 1)
        return self._y.detach()

    def backward(self, dy: Tensor) -> None:
        """Fill ``flat.gradient`` from dy [B, out]."""
        self.flat.gradient.zero_()
        with torch.enable_grad():
            self._y.backward(dy)

    def weights(self) -> Weights:
        """Of the first member, as bundle tensors."""
        return self.weights_of(self.members[0])

    @torch.no_grad()
    def weights_of(self, member: Member) -> Weights:
        """Plain weights of one architecture, named as :func:`pilotfish.train.actor.network_layers` names its layers."""
        layers = self.network(graphs_of([member], self.family, self.ends, self.device))
        sizes = (self.ends[0], *member.hidden, self.ends[1])
        weights: Weights = {}
        for index, (matrix, bias) in enumerate([*layers[: len(member.hidden)], layers[-1]]):
            name = f"hidden{index}" if index < len(member.hidden) else "out"
            rows, columns = sizes[index + 1], sizes[index]
            weights[f"{name}.weight"] = matrix[0, :rows, :columns].contiguous().cpu().numpy().copy()
            weights[f"{name}.bias"] = bias[0, 0, :rows].cpu().numpy().copy()
        return weights

    def _shared(self, x: Tensor) -> Tensor:
        return x.unflatten(0, (len(self.members), -1))
