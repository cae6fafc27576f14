"""The two critics of SAC and TD3 with their slow copies, by hand: what a learner asks of critics, and its plain answer."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .crew import Crew
from .flat import Adam, Flat
from .stacked import Piece, Stack


class Critics:
    """Two multi-layer perceptrons Q(action, obs), and two slow copies of them.

    Wherever it says action and obs, these are [B, actions] and [B, observation size]. What a call gives may be
    overwritten by the next.
    """

    def __init__(
        self, sizes: tuple[int, int], hidden: tuple[int, ...], rate: float, generator: torch.Generator, device: torch.device,
        crew: Crew | None = None,
    ) -> None:  # fmt: skip
        """``sizes``: of observation and action."""
        self.actions, widths = sizes[1], (sum(sizes), *hidden, 1)
        self.stack = Stack(2, widths, "relu", device, crew)
        self.stack.draw(generator)
        self.targets = Stack(2, widths, "relu", device, crew, buffers=self.stack)
        self.targets.flat.value.copy_(self.stack.flat.value)
        self.adam = Adam(self.stack.flat, rate)
        self._first = self.stack.only(0)
        values = (self.targets.flat.value, self.stack.flat.value)
        self._moving = {None: values} | dict(enumerate(zip(*(value.chunk(2) for value in values), strict=True)))

    @property
    def slow(self) -> Flat:
        """Parameters of the slow copies."""
        return self.targets.flat

    def see(self, obs: Tensor) -> None:
        """New observations: nothing to learn from them here."""

    def target(self, action: Tensor, obs: Tensor) -> Tensor:
        """The smaller of the slow copies' values, [B]."""
        return self.targets.forward(action, obs).amin(0)[:, 0]

    def fit(self, action: Tensor, obs: Tensor, wanted: Tensor, tau: float) -> tuple[list[Tensor], list[Tensor]]:
        """One step of both towards the values ``wanted`` [B]; the copies move by ``tau`` -> (differences, values).

        The loss is the sum of both mean squared differences; the lists hold them in parts of any shape.
        """
        wanted, scale = wanted[:, None], 2 / len(action)

        def step(piece: Piece) -> tuple[Tensor, Tensor]:
            value = piece.forward()
            difference = value - wanted
            piece.backward(difference * scale)
            self.adam.step(piece.network)
            if tau:
                slow, quick = self._moving[piece.network]
                slow.lerp_(quick, tau)
            return difference, value

        done = self.stack.each(self.stack.put(action, obs), step)
        return [difference for difference, _ in done], [value for _, value in done]

    def smaller(self, action: Tensor, obs: Tensor) -> tuple[Tensor, Tensor]:
        """The smaller value of each row [B], and its gradient by the action [B, actions]."""
        q = self.stack.forward(action, obs)[..., 0]
        pieces, first = self.stack.pieces(len(action)), q[0] <= q[1]
        if len(pieces) == 1:
            chosen = torch.stack([first, ~first])[..., None].to(q.dtype)
            return q.amin(0), self.stack.slope(chosen, self.actions)
        # Each critic is asked about its own rows only: half of the products.
        rows = [chosen.nonzero()[:, 0] for chosen in (first, ~first)]
        slopes = self.stack.each(pieces, lambda piece: piece.slope_at(rows[piece.network or 0], self.actions))
        slope = torch.empty_like(action)
        for index, part in zip(rows, slopes, strict=True):
            slope.index_copy_(0, index, part)
        return q.amin(0), slope

    def first(self, action: Tensor, obs: Tensor) -> Tensor:
        """The gradient of the first critic's value by the action, [B, actions]."""
        return self._first.slope(torch.ones_like(self._first.forward(action, obs)), self.actions)

    def state(self) -> dict[str, Any]:
        """Everything that later calls depend on."""
        return {"adam": self.adam.state(), "targets": self.targets.flat.value.clone()}

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state`."""
        self.adam.restore(state["adam"])
        self.targets.flat.value.copy_(state["targets"])
