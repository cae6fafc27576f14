"""How far a student is from its teacher: the loss of distillation and its gradient by the student's output."""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor
from torch.nn import functional as F

from ..policy.contract import Action
from ..policy.network import transform_action


def imitation_loss(action: Action, y: Tensor, answer: Tensor, unit: Tensor | None) -> Tensor:
    """How far the student's output y [B, m] is from the teacher's answer [B, m].

    Continuous: mean square of (action - answer) / unit. The clip passes gradients straight through: a student beyond
    a bound is pulled back if the teacher is inside, and left alone if the teacher is beyond it, too.
    Discrete: KL(teacher || student) plus the cross-entropy of the teacher's choice, which is what will be executed.
    """
    if action.kind == "discrete":
        log_p = torch.log_softmax(y, dim=-1)
        divergence = F.kl_div(log_p, torch.log_softmax(answer, dim=-1), log_target=True, reduction="batchmean")
        return divergence + F.nll_loss(log_p, answer.argmax(dim=-1))
    assert unit is not None  # continuous answers always have one
    free = transform_action(dataclasses.replace(action, low=(), high=()), y)
    if action.low:
        free = free + (transform_action(action, y.detach()) - free).detach()
    return ((free - answer) / unit).square().mean()


def imitation_gradient(action: Action, y: Tensor, answer: Tensor, unit: Tensor | None) -> tuple[Tensor, Tensor]:
    """(:func:`imitation_loss`, its gradient by y [B, m]): by hand where actions are vectors, as autograd costs more than it."""
    if action.kind == "discrete" or unit is None:
        with torch.enable_grad():
            leaf = y.detach().requires_grad_()
            loss = imitation_loss(action, leaf, answer, unit)
            loss.backward()
        assert leaf.grad is not None
        return loss.detach(), leaf.grad
    squashed = torch.tanh(y) if action.squash == "tanh" else y
    scale = torch.tensor(action.scale or 1.0, dtype=y.dtype, device=y.device)
    given = squashed * scale
    if action.offset:
        given = given + torch.tensor(action.offset, dtype=y.dtype, device=y.device)
    if action.low:
        given = given.clamp(*(torch.tensor(end, dtype=y.dtype, device=y.device) for end in (action.low, action.high)))
    error = (given - answer).div_(unit)
    dy = error * (scale / unit * (2 / error.numel()))
    if action.squash == "tanh":
        dy = torch.addcmul(dy, dy * squashed, squashed, value=-1)
    return error.square().mean(), dy


def unit_of(action: Action, answer: Tensor) -> Tensor:
    """What counts as one, per action entry [m]: half the range where it is bounded, else the spread of the answers."""
    if action.low:
        return (torch.tensor(action.high) - torch.tensor(action.low)).clamp_min(1e-6) / 2
    if action.squash == "tanh":
        return torch.tensor(action.scale or (1.0,) * action.size).abs().clamp_min(1e-6)
    return answer.flatten(0, 1).std(dim=0, correction=0).clamp_min(1e-3)
