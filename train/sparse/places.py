"""Where the weight matrices of a network lie in its flat parameter vector: what may be zero; biases and norms are not here."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..critics import Critics
from ..flat import Flat
from ..memory import Memoryless, Net, Simba
from ..off_actor import Actor, PlainActor
from ..sequence import Sequence
from ..simba_critics import SimbaCritics
from ..stacked import Stack


@dataclass(frozen=True, eq=False)
class Place:
    """One weight matrix."""

    name: str
    """As in a bundle, where it is an actor's: "hidden0.weight"."""
    positions: Tensor
    """Where its entries are in the flat vector, int64 [in * out]."""
    shape: tuple[int, int]
    """(in, out)."""


def places_of(network: Net | Actor | PlainActor | Critics | SimbaCritics, outputs: int | None = None) -> list[list[Place]]:
    """The weight matrices of each network in ``network.flat`` (or of the critics' own vector).

    ``outputs``: of the last layer's outputs only the first so many count; the rest (a deviation) is not for the device.
    """
    if isinstance(network, Critics):
        return _in_stack(network.stack, [f"layer{index}.weight" for index in range(len(network.stack.flat.shapes))], outputs)
    if isinstance(network, SimbaCritics):
        return _in_simba(network.module, network.flat)
    inner = network.inner if isinstance(network, Memoryless) else network
    if isinstance(inner, PlainActor):
        return _in_stack(inner.stack, [f"{name}.weight" for name in inner.names], outputs)
    if isinstance(inner, Simba):
        return _in_simba(inner.network, inner.flat)
    if isinstance(inner, Actor | Sequence):
        return _in_module(inner.network, inner.flat, outputs)
    raise TypeError(f"no weight matrices are known in a {type(inner).__name__}")


def _indices(flat: Flat) -> list[Tensor]:
    return flat.views(torch.arange(flat.value.numel(), device=flat.device))


def _in_stack(stack: Stack, names: list[str], outputs: int | None) -> list[list[Place]]:
    """Matrices [in + 1, out] whose last row is the bias."""
    found: list[list[Place]] = []
    for network in range(stack.count):
        mine = [index[network, :-1] for index in _indices(stack.flat)]
        mine[-1] = mine[-1][:, :outputs]
        found.append([Place(name, part.flatten(), _pair(part)) for name, part in zip(names, mine, strict=True)])
    return found


def _in_module(module: nn.Module, flat: Flat, outputs: int | None) -> list[list[Place]]:
    """Matrices [out, in] among parameters that keep their bundle names, with "." as "__"; "out" is the last layer."""
    mine = []
    for (key, _), index in zip(module.named_parameters(), _indices(flat), strict=True):
        if index.dim() == 2:
            layer, _, tensor = key.rpartition("__")
            part = index[:outputs] if layer == "out" else index
            mine.append(Place(f"{layer}.{tensor}", part.flatten(), _pair(part.T)))
    return [mine]


def _in_simba(module: nn.Module, flat: Flat) -> list[list[Place]]:
    """Matrices [count, in, out]; the scales of the norms look alike but are none."""
    matrices = [
        (key, index)
        for (key, _), index in zip(module.named_parameters(), _indices(flat), strict=True)
        if key.endswith("_weight") and not key.startswith(("norm", "last"))
    ]
    count = len(matrices[0][1])
    return [[Place(key, index[one].flatten(), _pair(index[one])) for key, index in matrices] for one in range(count)]


def _pair(matrix: Tensor) -> tuple[int, int]:
    rows, columns = matrix.shape
    return rows, columns
