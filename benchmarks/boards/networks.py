"""The policies of the comparison: seeded multilayer perceptrons, dense and pruned, with their float64 reference."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pilotfish.compress.passes import Context, apply
from pilotfish.compress.quantize import QUANTIZE
from pilotfish.compress.quantize_settings import Quantize
from pilotfish.policy.bundle import Policy
from pilotfish.policy.contract import Action, Contract, Observation
from pilotfish.policy.golden import Golden
from pilotfish.policy.layers import Activation, Layer, Linear

Function = Literal["tanh", "relu"]


@dataclass(frozen=True, eq=False)
class Mlp:
    """Linear layers with one activation between them; none after the last."""

    name: str
    """Names the policy."""
    function: Function
    """Between the layers."""
    weights: tuple[np.ndarray, ...]
    """float32 [out, in] each."""
    biases: tuple[np.ndarray, ...]
    """float32 [out] each."""

    @property
    def sizes(self) -> tuple[int, ...]:
        """Inputs, then the outputs of every layer."""
        return (self.weights[0].shape[1], *(len(w) for w in self.weights))

    def activate(self, x: np.ndarray) -> np.ndarray:
        """The activation in the precision of ``x``."""
        return np.tanh(x) if self.function == "tanh" else np.maximum(x, 0)

    def values(self, observations: np.ndarray) -> list[np.ndarray]:
        """Every layer's outputs before its activation, float64 [N, out]; the last are the actions."""
        x, found = observations.astype(np.float64), []
        for weight, bias in zip(self.weights, self.biases, strict=True):
            found.append(x @ weight.astype(np.float64).T + bias)
            x = self.activate(found[-1])
        return found

    def reference(self, observations: np.ndarray) -> np.ndarray:
        """Actions in float64: [N, in] -> [N, out]."""
        return self.values(observations)[-1]

    def policy(self) -> Policy:
        """The same network as a float32 policy."""
        layers: list[Layer] = []
        arrays: dict[str, np.ndarray] = {}
        for index, (ins, outs) in enumerate(itertools.pairwise(self.sizes)):
            layers += [Linear(f"fc{index}", ins, outs), Activation(self.function)]
            arrays |= {f"fc{index}.weight": self.weights[index], f"fc{index}.bias": self.biases[index]}
        contract = Contract(Observation(self.sizes[0]), Action("continuous", self.sizes[-1]))
        return Policy(self.name, contract, tuple(layers[:-1]), arrays)

    def policy_int8(self, seen: np.ndarray, quantize_input: Literal["int16", "int8", "float"]) -> Policy:
        """What Pilotfish's own pass makes of it, calibrated on the observations ``seen``, float32 [N, in]."""
        count = len(seen)
        nothing = np.zeros((count, 0), np.float32)
        # They stand for an environment's: the pass calibrates on nothing else.
        golden = Golden(seen, self.reference(seen).astype(np.float32), nothing, np.arange(count) == 0, "environment")
        teacher = self.policy().replace(golden=golden)
        return apply(teacher, QUANTIZE, Quantize(quantize_input=quantize_input), Context(teacher))


def dense(function: Function, *sizes: int, seed: int = 0) -> Mlp:
    """Random weights cost what trained ones cost; rows of unit gain keep values where tanh bends."""
    rng = np.random.default_rng(seed)
    pairs = list(itertools.pairwise(sizes))
    weights = tuple((rng.normal(size=(outs, ins)) / np.sqrt(ins)).astype(np.float32) for ins, outs in pairs)
    biases = tuple((0.1 * rng.normal(size=outs)).astype(np.float32) for _, outs in pairs)
    return Mlp(f"dense-{function}", function, weights, biases)


def sparse(mlp: Mlp, sparsity: float) -> Mlp:
    """A share ``sparsity`` of all weights becomes zero, and no unit dies.

    Each row and each column of each layer keeps its largest weight; what then remains of the budget goes to the largest of
    the others, compared across layers in units of 1 / sqrt(inputs). Random weights pruned by size alone leave most
    units dead, and dead units flatter every program that removes them.
    """
    sizes = [np.abs(weight) * np.sqrt(weight.shape[1]) for weight in mlp.weights]
    for size in sizes:
        for row in range(len(size)):
            size[row, size[row].argmax()] = np.inf
        for column in np.flatnonzero(np.isfinite(size).all(axis=0)):
            size[size[:, column].argmax(), column] = np.inf
    ranked = np.concatenate([size.reshape(-1) for size in sizes])
    needed, budget = int(np.isinf(ranked).sum()), round(ranked.size * (1 - sparsity))
    if budget < needed:
        raise ValueError(f"at most a share {1 - needed / ranked.size:.3f} can be zero with every unit alive, not {sparsity}")
    kept = np.zeros(ranked.size, bool)
    kept[np.argsort(-ranked, kind="stable")[:budget]] = True
    masks = np.split(kept, np.cumsum([weight.size for weight in mlp.weights])[:-1])
    weights = tuple(weight * mask.reshape(weight.shape) for weight, mask in zip(mlp.weights, masks, strict=True))
    return Mlp(f"sparse{round(100 * sparsity)}-{mlp.function}", mlp.function, weights, mlp.biases)


def observations(mlp: Mlp, count: int) -> np.ndarray:
    """float32 [count, in], seeded."""
    return np.random.default_rng(1).normal(size=(count, mlp.sizes[0])).astype(np.float32)
