"""Networks that learn without autograd: gradients by hand in kept buffers, Adam in one pass over flat parameters.

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
from typing import Any, TypeVar

import torch
from torch import Tensor

from .crew import Crew

STACKABLE = ("relu", "tanh")
"""Activations whose derivative follows from their own output."""
PIECE = 2**21
"""Multiplications in a minibatch's largest product from which a stack is worked on in pieces (256 rows x 96 x 96)."""
T = TypeVar("T")


class Flat:
    """Tensors of these shapes as views (``values``) of one float32 vector (``value``); ``gradients`` and ``gradient`` alike.

    With ``count``: of as many networks, whose parameters lie one network after the other; the views are [count, *shape].
    """

    def __init__(self, shapes: Sequence[tuple[int, ...]], device: torch.device, count: int | None = None) -> None:
        self.shapes, self.count, self.device = [tuple(shape) for shape in shapes], count, device
        self._sizes = [math.prod(shape) for shape in self.shapes]
        size = sum(self._sizes) * (1 if count is None else count)
        self.value, self.gradient = (torch.zeros(size, device=device) for _ in range(2))
        self.values, self.gradients = self.views(self.value), self.views(self.gradient)

    def views(self, whole: Tensor) -> list[Tensor]:
        """The tensors in a vector like ``value``."""
        rows = whole.view(1 if self.count is None else self.count, sum(self._sizes))
        parts = [part.unflatten(1, shape or (1,)) for part, shape in zip(rows.split(self._sizes, 1), self.shapes, strict=True)]
        if self.count is None:
            return [part[0].view(shape) for part, shape in zip(parts, self.shapes, strict=True)]
        return parts


class Adam:
    """Adam (Kingma and Ba 2014, arXiv 1412.6980; betas 0.9 and 0.999, epsilon 1e-8) over one :class:`Flat`."""

    def __init__(self, flat: Flat, rate: float) -> None:
        self.flat, self.rate = flat, rate
        self.first, self.second = torch.zeros_like(flat.value), torch.zeros_like(flat.value)
        networks = flat.count or 1
        self.count = torch.zeros(networks, device=flat.device)
        moved = (flat.value, flat.gradient, self.first, self.second)
        self._whole = [[part] for part in moved]
        self._each = [[[part.chunk(networks)[row]] for part in moved] for row in range(networks)]

    def step(self, row: int | None = None) -> None:
        """Move the values against the gradient: of one network, or of all if they have moved equally often."""
        count = self.count if row is None else self.count[row]
        count += 1
        value, gradient, first, second = self._whole if row is None else self._each[row]
        # What torch.optim.Adam(fused=True) calls, without its bookkeeping, which costs as much again on small networks.
        torch._fused_adam_(
            value, gradient, first, second, [], [self.count[row or 0]], lr=self.rate,
            beta1=0.9, beta2=0.999, weight_decay=0.0, eps=1e-8, amsgrad=False, maximize=False,
        )  # fmt: skip

    def state(self) -> dict[str, Any]:
        """Values and moments."""
        return {
            "value": self.flat.value.clone(),
            "first": self.first.clone(),
            "second": self.second.clone(),
            "count": self.count.clone(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state`."""
        for mine, name in ((self.flat.value, "value"), (self.first, "first"), (self.second, "second"), (self.count, "count")):
            mine.copy_(state[name])


class Piece:
    """Networks of a stack on rows of a minibatch: all of them [k, n, …], or one without the leading dimension [n, …]."""

    def __init__(self, stack: Stack, kept: _Kept, network: int | None, rows: slice, gradient: Tensor) -> None:
        self.network, self.rows, self.activation = network, rows, stack.activation
        mine = slice(None) if network is None else network
        self._last = len(stack.sizes) - 2
        self._product = torch.bmm if network is None else torch.mm
        self._weights = [values[mine] for values in stack.flat.values]
        self._gradients = [values[mine] for values in stack.flat.views(gradient)]
        self._turned = [weight[..., :-1, :].mT for weight in self._weights]
        self._seen = [layer[mine, rows] for layer in kept.hidden]
        self._hidden = [seen[..., :-1] for seen in self._seen]
        self._x, self._kept, self._mine = kept.x[rows], kept, mine
        if network is None:
            self._x = self._x.expand(stack.count, -1, -1)
        self._slopes: list[Tensor] = []
        # With one output, a product with one row is several times as fast as the same with one column.
        self._flat_out = stack.sizes[-1] == 1
        self._y = (kept.y.mT if self._flat_out else kept.y)[mine][..., rows] if self._flat_out else kept.y[mine, rows]
        if self._flat_out:
            self._out, self._out_gradient = self._weights[-1].mT, self._gradients[-1].mT

    def forward(self) -> Tensor:
        """y, of what :meth:`Stack.put` was given; the next call overwrites it, and the layers that the gradients need."""
        seen = self._x
        for weight, hidden, kept in zip(self._weights, self._hidden, self._seen, strict=False):
            self._product(seen, weight, out=hidden)
            torch.relu_(hidden) if self.activation == "relu" else torch.tanh_(hidden)
            seen = kept
        if self._flat_out:
            return self._product(self._out, seen.mT, out=self._y).mT
        return self._product(seen, self._weights[-1], out=self._y)

    def backward(self, dy: Tensor) -> None:
        """Fill the gradient of the parameters from dy, the loss's gradient by y."""
        for index in range(self._last, 0, -1):
            seen = self._seen[index - 1]
            if self._flat_out and index == self._last:
                self._product(dy.mT, seen, out=self._out_gradient)
            else:
                self._product(seen.mT, dy, out=self._gradients[index])
            dy = self._before(index, dy)
        self._product(self._x.mT, dy, out=self._gradients[0])

    def slope(self, dy: Tensor, columns: int) -> Tensor:
        """The loss's gradient by the first ``columns`` columns of x, [n, columns] or [k, n, columns]."""
        for index in range(self._last, 0, -1):
            dy = self._before(index, dy)
        return self._product(dy, self._weights[0][..., :columns, :].mT)

    def slope_at(self, rows: Tensor, columns: int) -> Tensor:
        """The gradient of one network's one output by the first ``columns`` columns of x on these m rows, [m, columns]."""
        if not self._last:
            return self._weights[0][:columns].mT.expand(len(rows), -1)
        dy = self._turned[-1].expand(len(rows), -1)
        for index in range(self._last, 0, -1):
            dx = dy if index == self._last else torch.mm(dy, self._turned[index])
            hidden = self._hidden[index - 1].index_select(0, rows)
            relu = self.activation == "relu"
            dy = torch.ops.aten.threshold_backward(dx, hidden, 0) if relu else torch.ops.aten.tanh_backward(dx, hidden)
        return torch.mm(dy, self._weights[0][:columns].mT)

    def _before(self, index: int, dy: Tensor) -> Tensor:
        """The loss's gradient by the products of layer ``index - 1`` from that by the products of layer ``index``."""
        if not self._slopes:
            self._slopes = [layer[self._mine, self.rows] for layer in self._kept.slopes()]
        dx, hidden = self._slopes[index - 1], self._hidden[index - 1]
        if self._flat_out and index == self._last:
            torch.mul(dy, self._turned[index], out=dx)
        else:
            self._product(dy, self._turned[index], out=dx)
        if self.activation == "relu":
            return torch.ops.aten.threshold_backward.grad_input(dx, hidden, 0, grad_input=dx)
        return torch.ops.aten.tanh_backward.grad_input(dx, hidden, grad_input=dx)


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

    def slopes(self) -> list[Tensor]:
        """As the hidden layers, without ones: only learners ask for them."""
        if not self._slopes:
            self._slopes = [torch.empty_like(layer[..., :-1], memory_format=torch.contiguous_format) for layer in self.hidden]
        return self._slopes


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

    def pieces(self, rows: int, first: int = 0) -> list[Piece]:
        """The rows from ``first`` on of a minibatch of ``rows`` rows, in as many pieces as are worth while.

        It follows from the sizes alone, never from the threads, so that these do not change a result.
        """
        if (rows, first) not in self._pieces:
            kept, gradient = self._memory(rows), self.flat.gradient
            work = (rows - first) * max(a * b for a, b in itertools.pairwise(self.sizes))
            if self.device.type != "cpu" or work < PIECE:
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
