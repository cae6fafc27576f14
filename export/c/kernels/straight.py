"""Sparse, as straight-line code: every live weight is a literal in the program, and there is no loop and no index.

Several layers in a row become one piece of code, whose units are local variables: computed depth first, most of them
never leave a register.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..machine import Machine
from .depth_first import depth_first
from .finish import finish
from .layer import DenseLayer

if TYPE_CHECKING:
    from ..operators.operator import Scope

MAX_DENSITY = 0.25
"""Above it a loop over a table is about as fast and much smaller (17-64-64-6 on a Cortex-M4F: code passes the dense table's
flash at about this density)."""
FLASH_SHARE = 0.25
"""Most of the flash that the code of one layer may take."""
KEPT = 24
"""So many inputs stay in the 32 registers of an FPU; of more, each use is a load."""
SCATTERED = 8
"""A last layer of up to so many outputs is summed while its inputs appear: they need not be kept at all."""


class Straight:
    """Sums in the order of the plain loop without the zeros."""

    name = "straight"

    def cost(self, layer: DenseLayer, machine: Machine) -> float | None:
        if machine.vectors or not layer.live or layer.density > MAX_DENSITY or layer.live > max_live(machine):
            return None
        if machine.flash_bytes is not None and self.table_bytes(layer, machine) > FLASH_SHARE * machine.flash_bytes:
            return None
        if not machine.fpu:
            return 306.0 * layer.live + 9.0 * layer.rows
        per_weight = 4.0 if layer.columns <= KEPT else 5.0
        return per_weight * layer.live + 6.0 * layer.rows

    def table_bytes(self, layer: DenseLayer, machine: Machine) -> int:
        return 20 * layer.live + 12 * layer.rows

    def print(self, layer: DenseLayer, scope: Scope) -> list[str]:
        return straight_line([layer], scope)


def max_live(machine: Machine) -> int:
    """Most weights in one piece of code: GCC's time grows faster than the code (1 s for 1 100, 90 s for 20 000).

    Clang, which compiles for microcontrollers, takes 1.4 s for 5 600 and 8 s for 20 000.
    """
    return 1000 if machine.vectors else 8000


def straight_line(layers: Sequence[DenseLayer], scope: Scope) -> list[str]:
    """C statements for layers that follow each other: from x to y."""
    weights = [_plain(layer) for layer in layers]
    last = len(layers) - 1
    scattered = last > 0 and layers[last].rows <= SCATTERED
    lines = []
    if scattered:
        lines += [f"float y{unit} = {_literal(bias)};" for unit, bias in enumerate(layers[last].bias)]
        order = depth_first(weights[:last], np.flatnonzero((weights[last] != 0).any(0)).tolist())
    else:
        order = depth_first(weights, range(layers[last].rows))
    for layer, unit in order:
        name = f"h{layer}_{unit}"
        source = "x[{}]" if layer == 0 else f"h{layer - 1}_{{}}"
        lines += _sum(name, layers[layer].bias[unit], weights[layer][unit], source)
        if layer == last:
            lines.append(f"y[{unit}] = {finish(layers[layer], scope, name)};")
            continue
        if layers[layer].activation is not None:
            lines.append(f"{name} = {finish(layers[layer], scope, name)};")
        if scattered and layer == last - 1:
            readers = np.flatnonzero(weights[last][:, unit])
            lines += [f"y{reader} += {_literal(weights[last][reader, unit])} * {name};" for reader in readers]
    if scattered:
        lines += [f"y[{unit}] = {finish(layers[last], scope, f'y{unit}')};" for unit in range(layers[last].rows)]
    if all(f"x[{i}]" not in line for line in lines for i in range(layers[0].columns)):
        lines.append("(void)x;")
    return lines


def _plain(layer: DenseLayer) -> np.ndarray:
    """The weights as float32 literals."""
    return layer.weight if layer.scale is None else (layer.weight * layer.scale[:, None]).astype(np.float32)


def _sum(name: str, bias: float, weight: np.ndarray, source: str) -> list[str]:
    terms = [f"{_literal(weight[i])} * {source.format(i)}" for i in np.flatnonzero(weight)]
    if bias != 0 or not terms:
        terms.insert(0, _literal(bias))
    lines = [" + ".join(terms[i : i + 4]) for i in range(0, len(terms), 4)]
    return [f"float {name} = {lines[0]}" + ("" if len(lines) > 1 else ";")] + [
        f"  + {line}" + (";" if line is lines[-1] else "") for line in lines[1:]
    ]


def _literal(value: float) -> str:
    from ..operators.operator import number  # operators import kernels: not at load time

    text = number(value)
    return f"({text})" if text.startswith("-") else text
