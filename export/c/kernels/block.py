"""Block-sparse: for a block of outputs, only the inputs that one of them reads, each with all weights of the block."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..machine import Machine
from .blocks import cut, pad, runs
from .csr import WIDENED
from .finish import finish
from .indices import c_type, small
from .layer import DenseLayer
from .stream import stream_cycles
from .together import multiply_add

if TYPE_CHECKING:
    from ..operators.operator import Scope

SCALAR_WIDTHS = (8, 4, 2)
SUMS = 4
"""Vectors of running sums that a block keeps at least, so that one multiply-add need not wait for the one before."""


class Block:
    """Sums in the order of the plain loop without the zeros; on vector machines in up to four interleaved parts."""

    name = "block"

    def cost(self, layer: DenseLayer, machine: Machine) -> float | None:
        if not layer.live or layer.columns > 65536 or (machine.vectors and layer.activation is not None):
            return None
        return min(estimate(layer, machine, width) for width in widths(machine))

    def table_bytes(self, layer: DenseLayer, machine: Machine) -> int:
        width = best_width(layer, machine)
        entries = sum(len(columns) * block for columns, block in zip(*_blocks(layer, width, machine), strict=True))
        index = 1 if layer.columns <= 256 else 2
        return entries * layer.weight.itemsize + entries // width * index + 9 * layer.rows + 200

    def print(self, layer: DenseLayer, scope: Scope) -> list[str]:
        machine = scope.machine
        width = best_width(layer, machine)
        columns, blocks = _blocks(layer, width, machine)
        padded = pad_rows(layer.weight, sum(blocks))
        starts = np.cumsum([0, *blocks])
        packed = []
        for index, (start, block, inputs) in enumerate(zip(starts[:-1], blocks, columns, strict=True)):
            weight = padded[start : start + block][:, inputs].T
            spare = -len(inputs) % at_once(block, machine)
            packed.append(np.pad(weight, ((0, spare), (0, 0))).reshape(-1))
            columns[index] = np.pad(inputs, (0, spare), mode="edge") if len(inputs) else inputs
        at, count = small(np.concatenate(columns)), small([len(inputs) for inputs in columns])
        note = f"{layer.rows} x {layer.columns} in blocks of {width} outputs: [block][input in use][output of the block]"
        weight = np.concatenate(packed)
        tables = {
            "w": (weight, scope.table(layer.name, weight, note)),
            "at": (at, scope.table(f"{layer.name}_inputs", at, "inputs that a block uses")),
            "count": (count, scope.table(f"{layer.name}_counts", count, "how many inputs every block uses")),
        }
        bias = scope.table(f"{layer.name}_bias", pad(layer.bias, sum(blocks)), f"{layer.rows} values")
        scale = None
        if layer.scale is not None:
            scale = scope.table(f"{layer.name}_scale", pad(layer.scale, sum(blocks)), f"{layer.rows} values")
        lines = [f"const {c_type(array)} *{pointer} = {table};" for pointer, (array, table) in tables.items()]
        stretches = runs([(int(start), block) for start, block in zip(starts[:-1], blocks, strict=True)])
        if machine.vectors:
            scope.math.add("lanes_int8" if scale else "lanes")
        for start, block, times in stretches:
            body = _vector(block, machine, bias, scale) if machine.vectors else _scalar(layer, scope, block, bias, scale)
            lines.append(f"for (int o = {start}; o < {start + block * times}; o += {block}) {{")
            lines += [f"  {line}" for line in body]
            lines.append("}")
        return lines


def widths(machine: Machine) -> tuple[int, ...]:
    """Outputs of a block that suit the machine."""
    return tuple(machine.vector_floats * n for n in (4, 2, 1)) if machine.vectors else SCALAR_WIDTHS


def best_width(layer: DenseLayer, machine: Machine) -> int:
    """The cheapest of ``widths``."""
    return min(widths(machine), key=lambda width: estimate(layer, machine, width))


def estimate(layer: DenseLayer, machine: Machine, width: int) -> float:
    """Cycles with blocks of ``width`` outputs."""
    columns, blocks = _blocks(layer, width, machine)
    if machine.vectors:
        pairs = [
            (len(inputs) + -len(inputs) % at_once(block, machine), block) for inputs, block in zip(columns, blocks, strict=True)
        ]
        cycles = 5.0 + sum(5.0 + n * (0.2 + 0.5 * block / machine.vector_floats) for n, block in pairs)
        return cycles + stream_cycles(sum(n * block for n, block in pairs) * layer.weight.itemsize)
    widened = 0.0 if layer.scale is None else WIDENED[machine.fpu]
    pairs = [(len(inputs), block) for inputs, block in zip(columns, blocks, strict=True)]
    if machine.fpu:
        return sum(7.0 + 13.5 * block + n * (11.3 + (3.08 + 0.9 * widened) * block) for n, block in pairs)
    # A soft multiplication by zero is short, and so is the addition of zero.
    zeros = sum(n * block for n, block in pairs) - layer.live
    return (306.0 + widened) * layer.live + (164.0 + widened) * zeros + sum(35.0 * block + 10.0 * n for n, block in pairs)


def entries(layer: DenseLayer, width: int, machine: Machine) -> tuple[int, int]:
    """(inputs in use, summed over the blocks; number of blocks)"""
    columns, _ = _blocks(layer, width, machine)
    return sum(map(len, columns)), len(columns)


def at_once(block: int, machine: Machine) -> int:
    """Inputs that a block takes in one round, each into a sum of its own.

    The last round is filled with zero weights of an input that the block reads anyway: a second loop for the rest would
    be a second branch that processors guess wrong.
    """
    return max(1, SUMS * machine.vector_floats // block) if machine.vectors else 1


def pad_rows(weight: np.ndarray, rows: int) -> np.ndarray:
    """``weight`` with rows of zeros below it."""
    return np.concatenate([weight, np.zeros((rows - len(weight), weight.shape[1]), weight.dtype)])


def _blocks(layer: DenseLayer, width: int, machine: Machine) -> tuple[list[np.ndarray], list[int]]:
    """(the inputs in use, the number of outputs) of every block."""
    # Narrower blocks take the rest: a result has room for whole vectors, not for whole blocks.
    narrower = tuple(w for w in (widths(machine) if machine.vectors else (8, 4, 2, 1)) if w <= width)
    cuts = cut(layer.rows, narrower)
    return [np.flatnonzero((layer.weight[start : start + w] != 0).any(0)) for start, w in cuts], [w for _, w in cuts]


def _scalar(layer: DenseLayer, scope: Scope, width: int, bias: str, scale: str | None) -> list[str]:
    rows = range(width)
    cast = "(float)" if scale else ""
    begin = ", ".join(f"s{k} = " + ("0.0f" if scale else f"{bias}[o + {k}]") for k in rows)
    add = multiply_add(scope, [(f"{cast}w[{k}]", "*in") for k in rows], [f"s{k}" for k in rows])
    end = []
    for k in rows:
        if scale:
            end.append(f"s{k} = {bias}[o + {k}] + {scale}[o + {k}] * s{k};")
        end.append(f"y[o + {k}] = {finish(layer, scope, f's{k}')};")
    return [
        f"float {begin};",
        f"for (int n = *count++; n > 0; --n, w += {width}) {{ const float *in = &x[*at++]; {add} }}",
        *end,
    ]


def _vector(width: int, machine: Machine, bias: str, scale: str | None) -> list[str]:
    inputs = at_once(width, machine)
    load = "policy_load_int8" if scale else "policy_load"
    vectors = f"{width} / POLICY_LANES"
    each = f"for (int k = 0; k < {vectors}; ++k)"
    parts = f"for (int u = 1; u < {inputs}; ++u) {each}"
    place = "[o + k * POLICY_LANES]"
    first = "policy_zero()" if scale else f"policy_load(&{bias}{place})"
    lines = [f"policy_vec sum[{inputs}][{vectors}];", f"{each} sum[0][k] = {first};"]
    if inputs > 1:
        lines.append(f"{parts} sum[u][k] = policy_zero();")
    lines += [
        f"for (int n = *count++; n > 0; n -= {inputs}, at += {inputs}, w += {inputs * width})",
        f"  for (int u = 0; u < {inputs}; ++u)",
        f"    {each} sum[u][k] += {load}(&w[u * {width} + k * POLICY_LANES]) * x[at[u]];",
    ]
    if inputs > 1:
        lines.append(f"{parts} sum[0][k] += sum[u][k];")
    value = f"policy_load(&{bias}{place}) + policy_load(&{scale}{place}) * sum[0][k]" if scale else "sum[0][k]"
    return [*lines, f"{each} policy_store(&y{place}, {value});"]
