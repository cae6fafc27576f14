"""Hashed: a small store stands for all weights, and which entry stands for which is computed anew at every call.

What is in flash is the store, a bias per output, and two small numbers per round through the store; see
:mod:`pilotfish.policy.hashed`. A chunk of weights costs a short hash for its sign and an addition for its place.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ....policy.hashed import SIGNS, STRIDE, places, rounds
from ..machine import Machine
from .finish import finish
from .indices import small
from .layer import DenseLayer
from .together import multiply_add

if TYPE_CHECKING:
    from ..operators.operator import Scope

GROUP = 8
"""Weights that are loaded together."""


class Hashed:
    """Every row in sums of chunks. For processors without vector registers: with them, memory is plenty, and the weight is
    written out."""

    name = "hashed"

    def cost(self, layer: DenseLayer, machine: Machine) -> float | None:
        if machine.vectors or (hashed := layer.hashed) is None or store_of(layer) is None or hashed.size // hashed.chunk > 65535:
            return None
        chunks = layer.rows * -(-layer.columns // hashed.chunk)
        if not machine.fpu:
            return 310.0 * layer.weight.size + 350.0 * chunks + 33.0 * layer.rows
        return 4.0 * layer.weight.size + 32.0 * chunks + 14.0 * layer.rows

    def table_bytes(self, layer: DenseLayer, machine: Machine) -> int:
        assert layer.hashed is not None
        chunks = layer.rows * -(-layer.columns // layer.hashed.chunk)
        return 4 * layer.hashed.size + 4 * layer.rows + 4 * (chunks // (layer.hashed.size // layer.hashed.chunk) + 2) + 300

    def print(self, layer: DenseLayer, scope: Scope) -> list[str]:
        hashed, store = layer.hashed, store_of(layer)
        assert hashed is not None
        assert store is not None
        slots, across = hashed.size // hashed.chunk, -(-layer.columns // hashed.chunk)
        table = rounds(layer.rows * across, slots, hashed.seed)
        full, rest = divmod(layer.columns, hashed.chunk)
        bias = scope.table(f"{layer.name}_bias", layer.bias, f"{layer.rows} values")
        note = f"the store of {layer.rows} x {layer.columns} weights: {slots} chunks of {hashed.chunk}"
        first = (hashed.seed + STRIDE * (SIGNS + 1)) & 0xFFFFFFFF
        lines = [
            f"const float *const store = {scope.table(layer.name, store, note)};",
            f"uint32_t slot = {table[0, 1]}u, step = {table[0, 0]}u, mixed = {first}u;",
        ]
        if len(table) > 1:
            ends = small(np.concatenate([table[1:].reshape(-1), [0, 0]]))  # what is read behind the last round is not used
            name = scope.table(f"{layer.name}_rounds", ends, "step and first chunk of every round but the first")
            lines += [f"const {ends.dtype.name}_t *round = {name};", f"uint32_t left = {slots}u;"]
        again = len(table) > 1
        lines += [f"for (int o = 0; o < {layer.rows}; ++o) {{", f"  float s = {bias}[o];", "  const float *in = x;"]
        if full:
            lines.append(f"  for (int p = 0; p < {full}; ++p, in += {hashed.chunk}) {{")
            lines += [f"    {line}" for line in _chunk(scope, hashed.chunk, hashed.chunk, slots, again)]
            lines.append("  }")
        if rest:
            lines += ["  {", *(f"    {line}" for line in _chunk(scope, rest, hashed.chunk, slots, again)), "  }"]
        return [*lines, f"  y[o] = {finish(layer, scope, 's')};", "}"]


def _chunk(scope: Scope, length: int, chunk: int, slots: int, again: bool) -> list[str]:
    """C: add one chunk of ``length`` weights to s, and go on to the next one's place."""
    groups = [range(first, min(first + GROUP, length)) for first in range(0, length, GROUP)]
    sums = [multiply_add(scope, [(f"w[{i}]", f"in[{i}]") for i in group], [("t", "u")[i % 2] for i in group]) for group in groups]
    lines = [
        f"const float *const w = store + slot * {chunk}u;",
        "uint32_t h = mixed;",
        "float t = 0.0f, u = 0.0f;",
        *sums,
        "h ^= h >> 16; h *= 0x85EBCA6Bu; h ^= h >> 13; h *= 0xC2B2AE35u; h ^= h >> 16;",
        "t += u;",
        "s += h >> 31 ? -t : t;",
        f"mixed += 0x{STRIDE:X}u;",
        "slot += step;",
        f"if (slot >= {slots}u) slot -= {slots}u;",
    ]
    if again:
        lines.append(f"if (--left == 0u) {{ step = round[0]; slot = round[1]; round += 2; left = {slots}u; }}")
    return lines


def store_of(layer: DenseLayer) -> np.ndarray | None:
    """float32 [size]: the store that ``layer.weight`` shows; None where a rewrite has changed the weight since."""
    hashed = layer.hashed
    if hashed is None or layer.scale is not None or layer.weight.shape != (hashed.out_size, hashed.in_size):
        return None
    entry, sign = places(hashed.out_size, hashed.in_size, hashed.size, hashed.chunk, hashed.seed)
    store = np.zeros(hashed.size, np.float32)
    store[entry] = layer.weight * sign
    return store if np.array_equal(store[entry] * sign, layer.weight) else None
