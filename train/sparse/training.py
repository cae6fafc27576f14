"""Sparse training of a learner's networks: when their masks change, what is told of it, and what the policy says of itself."""

from __future__ import annotations

import math
from typing import Any

from .masked import Change, Masked
from .settings import Sparsity


class SparseTraining:
    """The masks of a learner's networks ("actor", "critic"), changed as the settings say.

    A learner calls :meth:`tick` before each gradient step, with the fraction of its training that is over, and :meth:`settle`
    after its last; the optimizers call :meth:`Masked.before_step`.
    """

    def __init__(self, config: Sparsity, networks: dict[str, Masked]) -> None:
        self.config, self.networks, self.plan = config, networks, config.plan()
        self.updates = 0
        self.reached = self.plan.initial
        """The sparsity that was last ordered."""
        if config.method != "prune" and config.final:
            for network in networks.values():
                network.draw(config.final)

    def tick(self, progress: float) -> None:
        """Another gradient step follows, when the fraction ``progress`` of the training is over."""
        self.updates += 1
        if self.config.method == "prune":
            late = progress >= self.plan.end and self.reached != self.plan.final
            if late or self.plan.due(self.updates, progress):
                self._order(Change(self.plan.at(progress)))
        elif self.config.method != "static" and progress < self.plan.end and self.plan.due(self.updates, progress):
            self._order(Change(self.plan.final, self._drop(progress)))

    def _order(self, change: Change) -> None:
        if change.drop or change.sparsity != self.reached:
            self.reached = change.sparsity
            for network in self.networks.values():
                network.order(change)

    def _drop(self, progress: float) -> float:
        """drop / 2 (1 + cos(pi t / t_end)), as in Evci et al. 2020, section 3."""
        start = 0.5 if self.config.drop is None else self.config.drop
        return start / 2 * (1 + math.cos(math.pi * progress / self.plan.end))

    def settle(self, progress: float) -> None:
        """The learner's updates for now are done; once ``end`` is behind, the final sparsity does not wait for another."""
        if self.config.method == "prune" and progress >= self.plan.end:
            self._order(Change(self.plan.final))
            for network in self.networks.values():
                network.settle()

    @property
    def complete(self) -> bool:
        """Is the actor as sparse as it shall be? An earlier policy is another thing than the one that was asked for."""
        actor = self.networks.get("actor")
        return self.config.method != "prune" or actor is None or (self.reached == self.plan.final and actor.orders == [None])

    def scalars(self) -> dict[str, float]:
        """To plot: the sparsity of each network, and how many of its weights have grown so far."""
        told = {}
        for name, network in self.networks.items():
            told[f"sparsity/{name}"] = network.sparsity
            told[f"sparsity/{name}_grown"] = float(sum(network.grown))
        return told

    def state(self) -> dict[str, Any]:
        """Everything that later changes depend on."""
        networks = {name: network.state() for name, network in self.networks.items()}
        return {"updates": self.updates, "reached": self.reached, "networks": networks}

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of :meth:`state`."""
        self.updates, self.reached = int(state["updates"]), float(state["reached"])
        for name, network in self.networks.items():
            network.restore(state["networks"][name])
