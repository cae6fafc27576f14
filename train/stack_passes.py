"""The two passes through a piece of a stack, as functions that torch can run without Python's lock.

Compiled by TorchScript where this torch still has it: an operation then costs a fifth of the dispatch, and two threads do not
wait for each other's interpreter between operations. Without it the same lines run as they stand, with the same results.
"""

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


def product(a: Tensor, b: Tensor, out: Tensor) -> None:
    """out = a b, of matrices or of batches of them."""
    if a.dim() == 3:
        torch.bmm(a, b, out=out)
    else:
        torch.mm(a, b, out=out)


def forward(
    x: Tensor, weights: list[Tensor], hidden: list[Tensor], seen: list[Tensor], y: Tensor, relu: bool, spare: Tensor
) -> None:
    """Fill ``hidden`` (each a part of ``seen``, which ends in a column of ones) and y; y is [1, n] where there is one output.

    A product with one row is several times as fast as the same with one column, and a sum over ``spare`` (memory like the last
    of ``seen``, or empty) faster still where products are tuned for large matrices.
    """
    for index in range(len(hidden)):
        product(x, weights[index], hidden[index])
        if relu:
            torch.relu_(hidden[index])
        else:
            torch.tanh_(hidden[index])
        x = seen[index]
    last = weights[len(hidden)]
    if last.size(-1) == 1 and spare.numel() > 0:
        torch.mul(x, last[:, 0], out=spare)
        torch.sum(spare, [1], out=y[0])
    elif last.size(-1) == 1:
        product(last.mT, x.mT, y)
    else:
        product(x, last, y)


def before(dy: Tensor, weight: Tensor, hidden: Tensor, dx: Tensor, relu: bool) -> None:
    """dx = the loss's gradient by the products that ``hidden`` came from, of dy by those that it went into."""
    inner = weight.narrow(-2, 0, weight.size(-2) - 1).mT
    if inner.size(-2) == 1:
        torch.mul(dy, inner, out=dx)
    else:
        product(dy, inner, dx)
    if relu:
        torch.ops.aten.threshold_backward(dx, hidden, 0, grad_input=dx)
    else:
        torch.ops.aten.tanh_backward(dx, hidden, grad_input=dx)


def backward(
    x: Tensor,
    dy: Tensor,
    weights: list[Tensor],
    gradients: list[Tensor],
    hidden: list[Tensor],
    seen: list[Tensor],
    slopes: list[Tensor],
    relu: bool,
    spare: Tensor,
) -> None:
    """Fill the gradient of every weight from dy, the loss's gradient by y [n, out]."""
    for index in range(len(hidden), 0, -1):
        if dy.size(-1) == 1 and index == len(hidden) and spare.numel() > 0:
            torch.mul(seen[index - 1], dy, out=spare)
            torch.sum(spare, [0], out=gradients[index][:, 0])
        elif dy.size(-1) == 1:
            product(dy.mT, seen[index - 1], gradients[index].mT)
        else:
            product(seen[index - 1].mT, dy, gradients[index])
        before(dy, weights[index], hidden[index - 1], slopes[index - 1], relu)
        dy = slopes[index - 1]
    product(x.mT, dy, gradients[0])


def slope(dy: Tensor, weights: list[Tensor], hidden: list[Tensor], slopes: list[Tensor], relu: bool, columns: int) -> Tensor:
    """The loss's gradient by the first ``columns`` columns of x, [n, columns]."""
    for index in range(len(hidden), 0, -1):
        before(dy, weights[index], hidden[index - 1], slopes[index - 1], relu)
        dy = slopes[index - 1]
    return torch.matmul(dy, weights[0].narrow(-2, 0, columns).mT)


def slope_at(
    rows: Tensor,
    weights: list[Tensor],
    hidden: list[Tensor],
    slopes: list[Tensor],
    gathered: list[Tensor],
    relu: bool,
    columns: int,
) -> Tensor:
    """The gradient of one network's one output by the first ``columns`` columns of x on these m rows, [m, columns].

    ``slopes`` and ``gathered`` are memory for as many rows as the minibatch has.
    """
    last, many = len(hidden), rows.size(0)
    dy = weights[last].narrow(0, 0, columns if last == 0 else weights[last].size(0) - 1).mT.expand(many, -1)
    for index in range(last, 0, -1):
        dx, kept = slopes[index - 1].narrow(0, 0, many), gathered[index - 1].narrow(0, 0, many)
        torch.index_select(hidden[index - 1], 0, rows, out=kept)
        if index != last:
            product(dy, weights[index].narrow(0, 0, weights[index].size(0) - 1).mT, dx)
            dy = dx
        if relu:
            torch.ops.aten.threshold_backward(dy, kept, 0, grad_input=dx)
        else:
            torch.ops.aten.tanh_backward(dy, kept, grad_input=dx)
        dy = dx
    return dy if last == 0 else torch.mm(dy, weights[0].narrow(0, 0, columns).mT)


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """``function``, by TorchScript if this torch and this Python have it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it is deprecated, and nothing else runs a few operations without the lock
        try:
            made: Callable[..., Any] = torch.jit.script(function)
        except (RuntimeError, NotImplementedError, AttributeError):
            return function
    return made
