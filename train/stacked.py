"""Networks that learn without autograd: gradients by hand in kept buffers.

For the small networks of control policies a step through autograd costs dispatch, fresh memory and passes over it as
much as arithmetic. Here nothing is allocated twice, and a bias is one more row of the weights, read by a last input
that is always 1: no pass of its own forward or backward. Narrow networks of one shape are one batched product per
layer; wide ones are worked on in pieces, which two threads can share.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.nn import functional as F

from . import stack_passes
from .crew import Crew
from .flat import Flat
from .wide_products import largest

STACKABLE = ("relu", "tanh")
"""Activations whose derivative follows from their own output."""
PIECE = 2**23
"""Multiplications in a minibatch's largest product from which a stack is worked on in pieces (256 rows x 181 x 181).

Two threads measured even at 256 rows x 192 x 192 and 25 % quicker at 256 rows x 256 x 256, both on busy cores.
"""
BLOCK = 32
"""Rows to which a choice of rows is filled up."""
T = TypeVar("T")


class Piece:
    """Networks of a stack on rows of a minibatch: all of them [k, n, …], or one without the leading dimension [n, …]."""

    def __init__(self, stack: Stack, kept: _Kept, network: int | None, rows: slice, gradient: Tensor) -> None:
        self.network, self.rows, self._relu, self._kept = network, rows, stack.activation == "relu", kept
        self._passes: Any = _compiled() if stack.device.type == "cpu" else stack_passes
        self._mine = slice(None) if network is None else network
        self._weights = [values[self._mine] for values in stack.flat.values]
        self._gradients = [values[self._mine] for values in stack.flat.views(gradient)]
        self._seen = [layer[self._mine, rows] for layer in kept.hidden]
        self._hidden = [seen[..., :-1] for seen in self._seen]
        self._x = kept.x[rows] if network is not None else kept.x[rows].expand(stack.count, -1, -1)
        y = kept.y[self._mine]
        self._y = y[..., rows, :]
        self._out = self._y.mT if stack.sizes[-1] == 1 else self._y
        summed = network is not None and stack.sizes[-1] == 1 and stack.wide(rows.stop - rows.start) and bool(self._seen)
        self._spare = torch.empty_like(self._seen[-1]) if summed else torch.empty(0, device=stack.device)
        self._slopes: list[Tensor] = []
        self._gathered: list[Tensor] = []

    def forward(self) -> Tensor:
        """y, of what :meth:`Stack.put` was given; the next call overwrites it, and the layers that the gradients need."""
        self._passes.forward(self._x, self._weights, self._hidden, self._seen, self._out, self._relu, self._spare)
        return self._y

    def backward(self, dy: Tensor) -> None:
        """Fill the gradient of the parameters from dy, the loss's gradient by y."""
        slopes = self._kept_slopes()
        gradients, spare = self._gradients, self._spare
        self._passes.backward(self._x, dy, self._weights, gradients, self._hidden, self._seen, slopes, self._relu, spare)

    def slope(self, dy: Tensor, columns: int) -> Tensor:
        """The loss's gradient by the first ``columns`` columns of x, [n, columns] or [k, n, columns]."""
        by_x: Tensor = self._passes.slope(dy, self._weights, self._hidden, self._kept_slopes(), self._relu, columns)
        return by_x

    def slope_at(self, rows: Tensor, columns: int) -> Tensor:
        """The gradient of one network's one output by the first ``columns`` columns of x on these m rows, [m, columns]."""
        # Products of ever new sizes would each be planned anew: whole numbers of blocks, filled up with the first row.
        blocks = F.pad(rows, (0, min(-len(rows) % BLOCK, len(self._x) - len(rows))))
        slopes, gathered = self._kept_slopes(), self._kept_gathered()
        by_x: Tensor = self._passes.slope_at(blocks, self._weights, self._hidden, slopes, gathered, self._relu, columns)
        return by_x[: len(rows)]

    def _kept_slopes(self) -> list[Tensor]:
        if not self._slopes:
            self._slopes = [layer[self._mine, self.rows] for layer in self._kept.slopes()]
        return self._slopes

    def _kept_gathered(self) -> list[Tensor]:
        if not self._gathered:
            self._gathered = [layer[self._mine, self.rows] for layer in self._kept.gathered()]
        return self._gathered


@functools.cache
def _compiled() -> SimpleNamespace:
    """The passes, compiled when the first stack on a CPU needs them."""
    return SimpleNamespace(
        **{name: stack_passes.compiled(getattr(stack_passes, name)) for name in ("forward", "backward", "slope", "slope_at")}
    )


def _whole(size: int) -> int:
    return -(-size // 8) * 8


class _Kept:
    """Memory for minibatches of ``rows`` rows: x and the hidden layers with their column of ones, slopes, outputs."""

    def __init__(self, count: int, sizes: tuple[int, ...], rows: int, device: torch.device) -> None:
        # Rows begin at multiples of eight numbers: products with wide layers measured 7 % faster than with rows of size + 1.
        self.x = torch.ones((rows, _whole(sizes[0] + 1)), device=device)[:, : sizes[0] + 1]
        self.hidden = [torch.ones((count, rows, _whole(size + 1)), device=device)[..., : size + 1] for size in sizes[1:-1]]
        last = sizes[-1]
        self.y = torch.empty((count, 1, rows), device=device).mT if last == 1 else torch.empty((count, rows, last), device=device)
        self._slopes: list[Tensor] = []
        self._gathered: list[Tensor] = []

    def slopes(self) -> list[Tensor]:
        """As the hidden layers, without ones: only learners ask for them."""
        if not self._slopes:
            self._slopes = self._like_hidden()
        return self._slopes

    def gathered(self) -> list[Tensor]:
        """The same again, for chosen rows of the hidden layers."""
        if not self._gathered:
            self._gathered = self._like_hidden()
        return self._gathered

    def _like_hidden(self) -> list[Tensor]:
        return [torch.empty_like(layer[..., :-1], memory_format=torch.contiguous_format) for layer in self.hidden]


class Stack:
    """k multi-layer perceptrons of one shape: x [n, in] -> y [k, n, out]; the last layer is linear.

    ``flat.values`` are the weights of each layer [k, in + 1, out]; their last row is the bias. What a call gives is
    overwritten by the next for as many rows, also by that of another Stack with the same ``buffers``.
    """

    def __init__(
        self,
        count: int,
        sizes: tuple[int, ...],
        activation: str,
        device: torch.device,
        crew: Crew | None = None,
        buffers: Stack | None = None,
    ) -> None:
        self.count, self.sizes, self.activation, self.crew, self.device = count, sizes, activation, crew or Crew(1), device
        self.flat = Flat([(a + 1, b) for a, b in itertools.pairwise(sizes)], device, count)
        self._kept: dict[int, _Kept] = {} if buffers is None else buffers._kept
        self._pieces: dict[tuple[int, int], list[Piece]] = {}
        self._spare = torch.zeros_like(self.flat.gradient) if count == 1 else self.flat.gradient
        self._rows = 0

    def draw(self, generator: torch.Generator) -> None:
        """Uniform in +-1/sqrt(fan in), as torch.nn.Linear does; ``generator`` is a CPU one."""
        for values in self.flat.values:
            bound = 1 / math.sqrt(values.shape[1] - 1)
            values.copy_(torch.empty(values.shape).uniform_(-bound, bound, generator=generator))

    def only(self, index: int) -> Stack:
        """One of the k networks, with the same parameters and its own buffers and gradient."""
        single = Stack(1, self.sizes, self.activation, self.device, self.crew)
        single.flat.value = self.flat.value.chunk(self.count)[index]
        single.flat.values = single.flat.views(single.flat.value)
        return single

    def wide(self, rows: int) -> bool:
        """Whether so many rows are worth working on in pieces."""
        return self.device.type == "cpu" and largest(self.sizes, rows) >= PIECE

    def pieces(self, rows: int, first: int = 0) -> list[Piece]:
        """The rows from ``first`` on of a minibatch of ``rows`` rows, in as many pieces as are worth while.

        It follows from the sizes alone, never from the threads, so that these do not change a result.
        """
        if (rows, first) not in self._pieces:
            kept, gradient = self._memory(rows), self.flat.gradient
            if not self.wide(rows - first):
                parts = [Piece(self, kept, None if self.count > 1 else 0, slice(first, rows), gradient)]
            elif self.count > 1:
                parts = [Piece(self, kept, index, slice(first, rows), gradient) for index in range(self.count)]
            else:
                half = (first + rows) // 2
                parts = [Piece(self, kept, 0, slice(first, half), gradient), Piece(self, kept, 0, slice(half, rows), self._spare)]
            self._pieces[rows, first] = parts
        return self._pieces[rows, first]

    def _memory(self, rows: int) -> _Kept:
        if rows not in self._kept:
            self._kept[rows] = _Kept(self.count, self.sizes, rows, self.device)
        return self._kept[rows]

    def put(self, *x: Tensor) -> list[Piece]:
        """x as columns [n, …] beside each other -> the pieces that work on it."""
        self._rows, column = len(x[0]), 0
        whole = self._memory(self._rows).x
        for part in x:
            whole[:, column : column + part.shape[1]] = part
            column += part.shape[1]
        return self.pieces(self._rows)

    def each(self, pieces: Sequence[Piece], work: Callable[[Piece], T]) -> list[T]:
        """``work`` on each piece, at once where the crew has two threads."""
        if len(pieces) == 1:
            return [work(pieces[0])]
        return self.crew.run([functools.partial(work, piece) for piece in pieces])

    def forward(self, *x: Tensor) -> Tensor:
        """x, as columns [n, …] beside each other -> y, keeping x and the hidden layers for the gradients."""
        self.each(self.put(*x), Piece.forward)
        return self._kept[self._rows].y

    def backward(self, dy: Tensor, first: int = 0) -> None:
        """Fill ``flat.gradient`` from dy [k, n, out], the loss's gradient by the n rows of y from ``first`` on."""
        pieces = self.pieces(self._rows, first)
        self.each(pieces, lambda piece: piece.backward(self.share(piece, dy, first)))
        if self.count == 1 and len(pieces) == 2:
            self.flat.gradient += self._spare

    def slope(self, dy: Tensor, columns: int) -> Tensor:
        """The loss's gradient by the first ``columns`` columns of x, summed over the k networks, [n, columns]."""
        pieces = self.pieces(self._rows)
        slopes = self.each(pieces, lambda piece: piece.slope(self.share(piece, dy), columns))
        if len(pieces) == 1:
            return slopes[0].sum(0) if self.count > 1 else slopes[0]
        return torch.stack(slopes).sum(0) if self.count > 1 else torch.cat(slopes)

    @staticmethod
    def share(piece: Piece, whole: Tensor, first: int = 0) -> Tensor:
        """A piece's part of a tensor [k, n, …] on the rows from ``first`` on."""
        part = whole[:, piece.rows.start - first : piece.rows.stop - first]
        return part if piece.network is None else part[piece.network]
