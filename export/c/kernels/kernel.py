"""What a kernel is, and the choice of the cheapest: one way of computing a dense layer in C."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, TypeVar

from ..machine import Machine
from .choice import Choice

if TYPE_CHECKING:
    from ..operators.operator import Scope


class Layer(Protocol):
    """What the choice needs to know of a layer."""

    @property
    def name(self) -> str: ...

    @property
    def rows(self) -> int: ...

    @property
    def columns(self) -> int: ...

    @property
    def live(self) -> int: ...

    @property
    def bits(self) -> int: ...


LayerT = TypeVar("LayerT", bound=Layer)
_AnyLayer = TypeVar("_AnyLayer", bound=Layer, contravariant=True)


class Kernel(Protocol[_AnyLayer]):
    """One way of computing a dense layer. A new one is a short file and a line in the table of the package."""

    name: str
    """What artifact.json and the comments of policy.c call it."""

    def cost(self, layer: _AnyLayer, machine: Machine) -> float | None:
        """Estimated cycles of one call, comparable with other kernels on the same machine; None: it cannot do that."""

    def table_bytes(self, layer: _AnyLayer, machine: Machine) -> int:
        """Flash that it takes for this layer: tables, and code where the code holds the weights."""

    def print(self, layer: _AnyLayer, scope: Scope) -> list[str]:
        """C statements; the const float *x and the float *y of the layer are declared already."""


def choose(layer: LayerT, machine: Machine, kernels: Sequence[Kernel[LayerT]]) -> tuple[Kernel[LayerT], Choice]:
    """The cheapest kernel for ``layer``; of equally cheap ones, the first in the table.

    Weights of fewer than 8 bits are there to save flash: without vector registers, only the kernels that take the least of it
    are looked at. With them, memory is plenty, and they are stored as int8. float16 weights have a kernel of their own.
    """
    if not layer.live:  # nothing is multiplied: the constant kernel alone needs no table of weights
        kernels = [kernel for kernel in kernels if kernel.name == "constant"] or kernels
    if layer.bits == 16:
        kernels = [kernel for kernel in kernels if kernel.name in ("constant", "dense, float16")]
    able = [(kernel, cost) for kernel in kernels if (cost := kernel.cost(layer, machine)) is not None]
    smallest = [entry for entry in able if entry[0].name == "hashed"] or able  # a store is there to save flash, too
    taken: dict[str, int] = {}
    if layer.bits < 8 and not machine.vectors:
        taken = {kernel.name: kernel.table_bytes(layer, machine) for kernel, _ in able}
        smallest = [entry for entry in able if taken[entry[0].name] == min(taken.values())]
    chosen, _ = min(smallest, key=lambda entry: entry[1])
    costs = {kernel.name: cost for kernel, cost in able}
    return chosen, Choice(layer.name, (layer.rows, layer.columns), layer.live, chosen.name, costs, taken)
