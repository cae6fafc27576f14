"""SAC's and TD3's two critics as SimBa networks: what :class:`~pilotfish.train.critics.Critics` offers, through autograd."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .flat import Adam, Flat, flatten
from .simba import SimBa


class SimbaCritics:
    """Two SimBa networks Q(obs, action), and two slow copies of them; the methods are those of ``Critics``.

    Observations are normalized here, by statistics that critics and copies share and that follow what :meth:`see` is shown.
    """

    def __init__(
        self, sizes: tuple[int, int], hidden: tuple[int, ...], rate: float, generator: torch.Generator, device: torch.device
    ) -> None:
        """``sizes``: of observation and action; ``hidden``: one equal width per block."""

        def made() -> tuple[SimBa, Flat]:
            module = SimBa(sum(sizes), hidden[0], len(hidden), count=2, normalized=sizes[0], generator=generator).to(device)
            return module, flatten(module, device)

        self.module, self.flat = made()
        self.copies, self.slow = made()
        self.copies.norm = self.module.norm
        self.slow.value.copy_(self.flat.value)
        self.adam = Adam(self.flat, rate)

    def see(self, obs: Tensor) -> None:
        """New observations [n, size], for the statistics."""
        self.module.norm.learn(obs)

    @torch.no_grad()
    def target(self, action: Tensor, obs: Tensor) -> Tensor:
        """The smaller of the slow copies' values, [B]."""
        return self.copies(torch.cat([obs, action], 1)).amin(0)[:, 0]

    def fit(self, action: Tensor, obs: Tensor, wanted: Tensor, tau: float) -> tuple[list[Tensor], list[Tensor]]:
        """One step of both towards the values ``wanted`` [B]; the copies move by ``tau`` -> (differences, values)."""
        self.flat.gradient.zero_()
        with torch.enable_grad():
            value = self.module(torch.cat([obs, action], 1))
            difference = value - wanted[:, None]
            (difference.square().sum() / len(action)).backward()
        self.adam.step()
        if tau:
            self.slow.value.lerp_(self.flat.value, tau)
        return [difference.detach()], [value.detach()]

    def smaller(self, action: Tensor, obs: Tensor) -> tuple[Tensor, Tensor]:
        """The smaller value of each row [B], and its gradient by the action [B, actions]."""
        return self._slope(action, obs, None)

    def first(self, action: Tensor, obs: Tensor) -> Tensor:
        """The gradient of the first critic's value by the action, [B, actions]."""
        return self._slope(action, obs, 0)[1]

    def _slope(self, action: Tensor, obs: Tensor, only: int | None) -> tuple[Tensor, Tensor]:
        with torch.enable_grad():
            action = action.detach().requires_grad_()
            value = self.module(torch.cat([obs, action], 1), only).amin(0)[:, 0]
            (slope,) = torch.autograd.grad(value.sum(), action)
        return value.detach(), slope

    def state(self) -> dict[str, Any]:
        """Everything that later calls depend on."""
        norm = {name: tensor.clone() for name, tensor in self.module.norm.state_dict().items()}
        return {"adam": self.adam.state(), "targets": self.slow.value.clone(), "norm": norm}

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state`."""
        self.adam.restore(state["adam"])
        self.slow.value.copy_(state["targets"])
        self.module.norm.load_state_dict(state["norm"])
