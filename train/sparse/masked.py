"""One flat parameter vector of which some entries stay exactly zero: its mask, and what the mask does to everything around."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...errors import BadInput
from ..flat import Flat
from .choose import changed, moved
from .distribution import Scope, kept_by_layer, kept_in_all
from .places import Place


@dataclass(frozen=True)
class Change:
    """What the next optimizer step begins with."""

    sparsity: float
    """Share of the weights that is zero afterwards."""
    drop: float = 0.0
    """Share of the weights that stay which moves elsewhere."""


class Masked:
    """The weights of the networks in one :class:`Flat`, those outside the mask held at zero.

    :meth:`before_step` is the optimizer's hook: it makes the change that was ordered, while the gradient is still dense, and
    then takes the gradient away from what is zero. Its Adam moments are zero too, so no step moves it and no norm counts it;
    slow copies (:meth:`lead`) are masked when the mask changes, and then follow zeros. Each network has its own counts and
    its own random numbers, so threads may step them in any order.
    """

    def __init__(
        self,
        flat: Flat,
        moments: tuple[Tensor, Tensor],
        places: list[list[Place]],
        scope: Scope,
        by_gradient: bool,
        seed: list[int],
    ) -> None:
        """``moments``: Adam's two, like ``flat.value``; ``places``: of each network; ``by_gradient``: where weights grow."""
        self.flat, self.scope, self.by_gradient = flat, scope, by_gradient
        self.mask = torch.ones_like(flat.value)
        self.random = [np.random.default_rng([*seed, network]) for network in range(len(places))]
        self.places = places
        self._pools = [_pooled(mine, scope) for mine in places]
        self._shapes = [[place.shape for place in mine] for mine in places]
        self.alive = [[len(pool) for pool in mine] for mine in self._pools]
        """How many weights of each pool of each network may be other than zero."""
        self.grown = [0 for _ in places]
        """Weights that have grown so far, in each network."""
        self.orders: list[Change | None] = [None for _ in places]
        rows = flat.count or 1  # networks that lie one after the other may step alone
        self._masks, self._gradients = self.mask.chunk(rows), flat.gradient.chunk(rows)
        self._held = [whole.chunk(rows) for whole in (flat.value, *moments)]

    @property
    def sparsity(self) -> float:
        """Share of the weights that is held at zero, over all networks."""
        size = sum(len(pool) for mine in self._pools for pool in mine)
        return 1 - sum(sum(mine) for mine in self.alive) / size

    def draw(self, sparsity: float) -> None:
        """Random masks of exactly this sparsity; the weights of a layer of density d grow by 1/sqrt(d).

        So activations keep their variance (the aim of Evci et al. 2022, arXiv 2010.03533, who do it unit by unit).
        """
        for network, kept in enumerate(self._kept(sparsity)):
            for pool, number in zip(self._pools[network], kept, strict=True):
                zero = pool[torch.from_numpy(self.random[network].permutation(len(pool))[number:]).to(pool.device)]
                self.mask[zero] = 0.0
                if number:
                    self.flat.value[pool] *= math.sqrt(len(pool) / number)
            self.alive[network] = kept
            self._apply(network)

    def lead(self, slow: Tensor) -> None:
        """``slow``, like ``flat.value``, is a copy that follows it: here the same values, and from now on the same mask."""
        slow.copy_(self.flat.value)
        self._held.append(slow.chunk(len(self._masks)))

    def order(self, change: Change) -> None:
        """Make this change when the optimizer steps next."""
        self.orders = [change for _ in self.orders]

    def before_step(self, row: int | None = None) -> None:
        """What the optimizer calls with the network that it steps (None: all), after the gradient and before the step."""
        for network in range(len(self.orders)) if row is None else (row,):
            if (change := self.orders[network]) is not None:
                self.orders[network] = None
                self._change(network, change)
        if row is None:
            self.flat.gradient.mul_(self.mask)
        else:
            self._gradients[row].mul_(self._masks[row])

    def settle(self) -> None:
        """Make what is ordered at once: no step follows."""
        for network, change in enumerate(self.orders):
            if change is not None:
                self.orders[network] = None
                self._change(network, change)

    def _kept(self, sparsity: float) -> list[list[int]]:
        """Weights that stay in each pool of each network."""
        kept = []
        for shapes in self._shapes:
            total = kept_in_all([fan_in * fan_out for fan_in, fan_out in shapes], sparsity)
            kept.append([total] if self.scope == "global" else kept_by_layer(shapes, total, self.scope))
        return kept

    def _change(self, network: int, change: Change) -> None:
        kept, alive = self._kept(change.sparsity)[network], self.alive[network]
        for index, (pool, number) in enumerate(zip(self._pools[network], kept, strict=True)):
            drop = moved(change.drop, min(alive[index], number), len(pool))
            if number == alive[index] and not drop:
                continue
            grows, weight = drop + max(0, number - alive[index]), self.flat.value[pool]
            score = self._score(network, pool) if grows else weight.abs()
            self.mask[pool] = changed(self.mask[pool] > 0, weight, score, number, drop).to(self.mask.dtype)
            self.grown[network] += grows
        self.alive[network] = kept
        self._apply(network)
        if self.scope == "global":
            self._refuse_an_empty_layer(network, change)

    def _refuse_an_empty_layer(self, network: int, change: Change) -> None:
        for place in self.places[network]:
            if not self.mask[place.positions].any():
                raise BadInput(
                    "sparsity", expected="some weights left in every matrix",
                    found=f"none left in {place.name} at sparsity {change.sparsity:.4g}, in one ranking over all matrices",
                    repair='Set scope = "erdos-renyi" or "uniform", or a lower final',
                )  # fmt: skip

    def _score(self, network: int, pool: Tensor) -> Tensor:
        if self.by_gradient:
            return self.flat.gradient[pool].abs()
        return torch.from_numpy(self.random[network].random(len(pool), np.float32)).to(pool.device)

    def _apply(self, network: int) -> None:
        row = network if len(self._masks) > 1 else 0
        for held in self._held:
            held[row].mul_(self._masks[row]).add_(0.0)  # no zero keeps a sign

    def state(self) -> dict[str, Any]:
        """Everything that later changes depend on."""
        return {
            "mask": self.mask > 0,
            "alive": [list(mine) for mine in self.alive],
            "grown": list(self.grown),
            "orders": [None if order is None else [order.sparsity, order.drop] for order in self.orders],
            "random": [generator.bit_generator.state for generator in self.random],
        }

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state`."""
        self.mask.copy_(state["mask"])
        self.alive, self.grown = [list(mine) for mine in state["alive"]], list(state["grown"])
        self.orders = [None if order is None else Change(*order) for order in state["orders"]]
        for generator, kept in zip(self.random, state["random"], strict=True):
            generator.bit_generator.state = kept


def _pooled(places: list[Place], scope: Scope) -> list[Tensor]:
    """Positions that are ranked together."""
    parts = [place.positions for place in places]
    return [torch.cat(parts)] if scope == "global" else parts
