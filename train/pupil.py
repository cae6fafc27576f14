"""The student while it learns: all that it was ever shown, its network in one flat vector, one gradient step after another."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping

import numpy as np
import torch
from torch import Tensor

from ..errors import BadInput
from ..policy.bundle import Policy
from ..policy.network import Network
from ..policy.torch_policy import TorchPolicy
from .config import DistillConfig
from .demonstrations import Demonstrations
from .flat import Adam
from .imitation_loss import imitation_gradient, unit_of
from .off_actor import Actor, PlainActor, make_actor
from .sparse.places import places_of

MAX_NORM = 1.0
"""Longer gradients are cut to this length."""
Masks = Mapping[str, np.ndarray]
"""Matrix name -> bool [out, in], True where the entry may be other than zero."""


class Pupil:
    """A student that learns from demonstrations. Entries outside ``masks`` are zero from the first moment on.

    float32 chains of linear layers learn by hand, everything else through autograd, quantized weights straight through
    their grids.
    """

    def __init__(self, student: Policy, config: DistillConfig, device: torch.device, masks: Masks | None = None) -> None:
        self.student, self.config, self.device = student, config, device
        self.normalize = TorchPolicy(student).normalize.to(device)
        self.net: Actor | PlainActor = make_actor(student.layers, torch.Generator(), device)
        self.net.load(student.weights)
        self.seen: list[Demonstrations] = []
        self.random = np.random.default_rng([config.seed, 4])
        self.unit: Tensor | None = None
        self.mask = _flat_mask(self.net, masks) if masks else None
        if self.mask is not None:
            self.net.flat.value.mul_(self.mask)

    def policy(self) -> Policy:
        """The student as it stands."""
        return self.student.replace(weights=self.net.weights(), golden=None)

    def acting(self) -> TorchPolicy:
        """A copy on the CPU, where the environments are."""
        return TorchPolicy(self.policy()).eval()

    @torch.no_grad()
    def learn(self, data: Demonstrations, last: bool) -> float:
        """Fit everything seen so far; the ``last`` round takes three times as many epochs -> mean loss of the last epoch."""
        self.seen.append(data.to(self.device))
        action = self.student.contract.action
        if self.unit is None and action.kind == "continuous":
            self.unit = unit_of(action, data.answer).to(self.device)
        epochs = self.config.epochs * (3 if last else 1)
        adam = Adam(self.net.flat, self.config.learning_rate)
        losses: list[Tensor] = []
        for epoch in range(epochs):
            # A cosine to a hundredth: the large steps explore, the small ones settle.
            share = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * epoch / epochs))
            adam.rate = self.config.learning_rate * share
            losses = [self._step(adam, loss) for loss in (self._windows() if self.student.contract.state else self._points())]
        final = float(torch.stack(losses).mean())
        if not math.isfinite(final):
            raise BadInput(
                f"distillation of {self.student.name}",
                expected="a finite loss",
                found=f"{final}",
                repair="Lower learning_rate, or check the teacher's weights and normalizer",
            )
        return final

    def _step(self, adam: Adam, loss: Tensor) -> Tensor:
        """Move by the gradient that was just filled in."""
        gradient = self.net.flat.gradient
        if self.mask is not None:
            gradient.mul_(self.mask)  # a masked entry has no moments either, so it never moves
        gradient.mul_((MAX_NORM / (gradient.norm() + 1e-6)).clamp_(max=1.0))
        adam.step()
        return loss

    def _points(self) -> Iterator[Tensor]:
        """The loss of every minibatch of one epoch, shuffled, its gradient filled in."""
        action = self.student.contract.action
        obs = torch.cat([data.obs.flatten(0, 1) for data in self.seen])
        answer = torch.cat([data.answer.flatten(0, 1) for data in self.seen])
        order = torch.from_numpy(self.random.permutation(len(obs))).to(self.device)
        inputs, answer = self.normalize(obs)[order], answer[order]
        for begin in range(0, len(order), self.config.batch_size):
            rows = slice(begin, begin + self.config.batch_size)
            loss, dy = imitation_gradient(action, self.net.forward(inputs[rows]), answer[rows], self.unit)
            self.net.backward(dy)
            yield loss

    def _windows(self) -> Iterator[Tensor]:
        """The same through ``window`` steps in time, from the memory that the student had there when it acted."""
        network = self._network()
        length = min(self.config.window, *(len(data.obs) for data in self.seen))
        places = np.array(
            [
                (index, begin, column)
                for index, data in enumerate(self.seen)
                for begin in range(0, len(data.obs) - length + 1, length)
                for column in range(data.obs.shape[1])
            ]
        )
        self.random.shuffle(places)
        count = max(32, self.config.batch_size // length)  # a step through time costs the same for 1 window and for 32
        for first in range(0, len(places), count):
            picked = [(self.seen[i], slice(b, b + length), c) for i, b, c in places[first : first + count].tolist()]
            obs = torch.stack([data.obs[rows, c] for data, rows, c in picked], dim=1)
            answer = torch.stack([data.answer[rows, c] for data, rows, c in picked], dim=1)
            going = 1 - torch.stack([data.start[rows, c] for data, rows, c in picked], dim=1)[..., None]
            state = tuple(
                torch.stack([data.memory[k][rows.start, c] for data, rows, c in picked])
                for k in range(len(self.student.contract.state))
            )
            inputs, outputs = self.normalize(obs), []
            self.net.flat.gradient.zero_()
            with torch.enable_grad():
                for t in range(length):
                    y, state = network(inputs[t], tuple(tensor * going[t] for tensor in state))
                    outputs.append(y)
                whole = torch.cat(outputs)
                loss, dy = imitation_gradient(self.student.contract.action, whole.detach(), answer.flatten(0, 1), self.unit)
                whole.backward(dy)
            yield loss

    def _network(self) -> Network:
        assert isinstance(self.net, Actor)  # a recurrent network is never plain
        return self.net.network


def _flat_mask(net: Actor | PlainActor, masks: Masks) -> Tensor:
    """1 where a parameter may be other than zero, float32 like ``net.flat.value``; raises KeyError for an unknown matrix."""
    flat = torch.ones_like(net.flat.value)
    places = {place.name: place for place in places_of(net)[0]}
    for name, mask in masks.items():
        allowed = torch.from_numpy(np.ascontiguousarray(mask.T if isinstance(net, PlainActor) else mask, np.float32))
        flat[places[name].positions] = allowed.flatten().to(flat.device)
    return flat
