"""Sparse, as straight-line vector code: blocks of one vector of outputs, each with only the inputs that one of them reads.

There is no loop and no index: which inputs a block reads is written into the program, and their weights lie in a table
in that order. Scalar straight-line code (straight.py) loses here: whole vectors of its results are read right after
they were stored one by one, which stalls until the last store is done.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..machine import Machine
from .blocks import pad
from .layer import DenseLayer

if TYPE_CHECKING:
    from ..operators.operator import Scope

MAX_ENTRIES = 600
"""Most products of a vector and an input in the code of one layer: a loop over a table is as fast for more."""
CACHED_ENTRIES = 250
"""So many stay in the cache of decoded instructions (measured on an x86-64 core: above it, each product costs 1.6 cycles, and
0.6 below)."""
FORWARDED = 4
"""So many vectors of inputs a compiler may keep in registers and take apart there; of more it only makes spills."""
LONGEST, PARTS = 6, 4
"""A block of more products than LONGEST is summed in several parts, up to PARTS, that need not wait for each other. Short blocks
need none: processors of this kind begin the next block meanwhile."""


class StraightBlock:
    """Sums in the order of the plain loop without the zeros, in interleaved parts where there are few blocks."""

    name = "straight block"

    def cost(self, layer: DenseLayer, machine: Machine) -> float | None:
        if not machine.vectors or not layer.live or layer.activation is not None:
            return None
        entries = sum(map(len, _inputs(layer, machine)))
        if entries > MAX_ENTRIES:
            return None
        blocks = -(-layer.rows // machine.vector_floats)
        return 0.7 * entries + 1.0 * max(0, entries - CACHED_ENTRIES) + 1.0 * blocks + 3.0

    def table_bytes(self, layer: DenseLayer, machine: Machine) -> int:
        lanes, inputs = machine.vector_floats, _inputs(layer, machine)
        return (sum(map(len, inputs)) + len(inputs)) * 4 * lanes + 18 * sum(map(len, inputs)) + 20 * len(inputs)

    def print(self, layer: DenseLayer, scope: Scope) -> list[str]:
        lanes = scope.machine.vector_floats
        inputs = _inputs(layer, scope.machine)
        dense = layer.weight if layer.scale is None else (layer.weight * layer.scale[:, None]).astype(np.float32)
        padded = np.concatenate([dense, np.zeros((lanes * len(inputs) - layer.rows, layer.columns), np.float32)])
        packed = [padded[lanes * block : lanes * (block + 1), used].T.reshape(-1) for block, used in enumerate(inputs)]
        bias = scope.table(f"{layer.name}_bias", pad(layer.bias, len(padded)), f"{layer.rows} values")
        note = f"{layer.rows} x {layer.columns} in blocks of {lanes} outputs: [block][input in use][output of the block]"
        weight = scope.table(layer.name, np.concatenate(packed), note)
        scope.math.add("lanes")
        lines, at = [f"const float *const w = {weight};", f"const float *const bias = {bias};", "const float *in = x;"], 0
        if layer.columns > FORWARDED * lanes:
            lines.append("POLICY_UNKNOWN(in);")
        for block, used in enumerate(inputs):
            lines += _block(block * lanes, lanes, at, used, min(PARTS, -(-len(used) // LONGEST)))
            at += lanes * len(used)
        return lines


def _inputs(layer: DenseLayer, machine: Machine) -> list[np.ndarray]:
    """The inputs in use of every block."""
    lanes = machine.vector_floats
    return [np.flatnonzero((layer.weight[start : start + lanes] != 0).any(0)) for start in range(0, layer.rows, lanes)]


def _block(first: int, lanes: int, at: int, used: np.ndarray, parts: int) -> list[str]:
    """One block; where registers are narrower than it, in several rounds."""
    products = [f"policy_load(&w[{at + lanes * n} + k]) * in[{column}]" for n, column in enumerate(used)]
    lines = [f"policy_vec s0 = policy_load(&bias[{first} + k]);"]
    lines += [f"policy_vec s{part} = {products[part - 1]};" for part in range(1, parts)]
    lines += [f"s{n % parts} += {product};" for n, product in enumerate(products[parts - 1 :])]
    lines += [f"s0 += s{part};" for part in range(1, parts)]
    lines.append(f"policy_store(&y[{first} + k], s0);")
    return [f"for (int k = 0; k < {lanes}; k += POLICY_LANES) {{", *(f"  {line}" for line in lines), "}"]
