"""Dynamic low-rank training: weights stay on a low-rank manifold, and the rank follows a tolerance.

The basis-update and Galerkin integrator of "low-rank lottery tickets" (Schotthöfer, Zangrando, Kusch, Ceruti, Tudisco 2022,
arXiv 2205.13571, algorithm 1; Ceruti, Kusch, Lubich 2022). For W = U S V^T and a step D of the training, which would
lead to W + D:

    K-step: K = (W + D) V            new columns: what the step wants beyond U
    L-step: L = (W + D)^T U          new rows: what it wants beyond V
    bases:  U' = orth [U, K], V' = orth [V, L]
    S-step: S' = U'^T (W + D) V'
    truncation: the smallest rank whose discarded singular values have a norm of at most theta ||S'||

In the paper D = -rate * gradient, evaluated three times; as W lies in the augmented bases, the three are at the same point
and one evaluation is all of them. Here D is what the optimizer did (Adam), whose moments are dense and need no rank. So
training costs what dense training costs, and a little more: what is won is the result.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from ..policy.bundle import Policy
from .config import DistillConfig
from .flat import Adam
from .pupil import Masks, Pupil
from .sparse.places import places_of


@dataclass(frozen=True, eq=False)
class Factored:
    """W [out, in] = U S V^T with orthonormal columns in U [out, r] and V [in, r], S [r, r]; float32."""

    u: Tensor
    """[out, r]"""
    s: Tensor
    """[r, r]"""
    v: Tensor
    """[in, r]"""

    @property
    def rank(self) -> int:
        """r."""
        return int(self.s.shape[0])

    def product(self) -> Tensor:
        """W [out, in]."""
        return self.u @ self.s @ self.v.T


def factored(weight: Tensor, theta: float, largest: int) -> Factored:
    """The best factors of W of a rank that leaves out at most theta ||W||, but ``largest`` at most."""
    u, s, vt = torch.linalg.svd(weight.detach(), full_matrices=False)
    rank = rank_within(s, theta, largest)
    return Factored(u[:, :rank], torch.diag(s[:rank]), vt[:rank].T)


def rank_within(singular: Tensor, theta: float, largest: int) -> int:
    """Smallest rank r with || singular[r:] || <= theta || singular ||, between 1 and ``largest``; values in falling order."""
    tails = singular.double().square().flip(0).cumsum(0).flip(0).sqrt()  # norm of what a rank of 0, 1, … leaves out
    needed = int((tails > theta * tails[0]).sum())
    return max(1, min(needed, largest))


def stepped(now: Factored, wanted: Tensor, theta: float, largest: int) -> Factored:
    """One step of the integrator from W to where the training wants it, ``wanted`` = W + D [out, in]."""
    wanted = wanted.detach()
    u = torch.linalg.qr(torch.cat([now.u, wanted @ now.v], dim=1))[0]
    v = torch.linalg.qr(torch.cat([now.v, wanted.T @ now.u], dim=1))[0]
    left, singular, right = torch.linalg.svd(u.T @ wanted @ v, full_matrices=False)
    rank = rank_within(singular, theta, largest)
    return Factored(u @ left[:, :rank], torch.diag(singular[:rank]), v @ right[:rank].T)


class Integrator:
    """Leads matrices back to their manifolds after gradient steps. Either orientation: W and its transpose move alike."""

    def __init__(self, largest: Mapping[str, int], theta: float, every: int = 1) -> None:
        """``largest``: matrix name (LAYER.weight) -> largest rank; ``every``: gradient steps that make one step D."""
        self.largest, self.theta, self.every = dict(largest), theta, every
        self.now: dict[str, Factored] = {}
        self.ranks: list[dict[str, int]] = []
        """Ranks after each step of the integrator."""
        self._calls = 0

    def due(self) -> bool:
        """To be asked after every gradient step, and once before the first: is it time for a step of the integrator?"""
        self._calls += 1
        return (self._calls - 1) % self.every == 0

    @torch.no_grad()
    def step(self, matrices: Mapping[str, Tensor]) -> None:
        """Move each matrix (all those of ``largest``) in place: the first time by truncation, then from where it was before."""
        for name, largest in self.largest.items():
            matrix, before = matrices[name], self.now.get(name)
            if before is None:
                self.now[name] = factored(matrix, self.theta, largest)
            else:
                self.now[name] = stepped(before, matrix, self.theta, largest)
            matrix.copy_(self.now[name].product())
        self.ranks.append({name: part.rank for name, part in self.now.items()})


class LowRankPupil(Pupil):
    """A student some of whose matrices stay on low-rank manifolds."""

    def __init__(
        self, student: Policy, config: DistillConfig, device: torch.device, masks: Masks | None = None, *, integrator: Integrator
    ) -> None:
        super().__init__(student, config, device, masks)
        self.integrator = integrator
        self.places = [place for place in places_of(self.net)[0] if place.name in integrator.largest]
        self._integrate()

    def _step(self, adam: Adam, loss: Tensor) -> Tensor:
        loss = super()._step(adam, loss)
        self._integrate()
        return loss

    def _integrate(self) -> None:
        if not self.integrator.due():
            return
        value = self.net.flat.value
        matrices = {place.name: value[place.positions].view(place.shape) for place in self.places}
        self.integrator.step(matrices)
        for place in self.places:
            value[place.positions] = matrices[place.name].flatten()
