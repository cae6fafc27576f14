"""Integer layers on processors with the DSP extension: SMLAD multiplies and adds two pairs of 16 bits in a cycle."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..machine import Machine
from .blocks import cut, runs
from .integer_finish import Finish
from .integer_layer import IntegerLayer

if TYPE_CHECKING:
    from ..operators.operator import Scope

WIDTHS = (4, 2)
"""Rows of a block: it has a sum for each, and the rows share the loads of the inputs."""
PAIRS = 2
"""Pairs of inputs per round of the inner loop."""


class Int8Pairs:
    """Weights of two rows and two columns in a word, w[r][c] w[r+1][c] w[r][c+1] w[r+1][c+1]: every load feeds two SMLAD."""

    name = "dense int8, pairs"

    def cost(self, layer: IntegerLayer, machine: Machine) -> float | None:
        if machine.vectors or not machine.dsp:
            return None
        return 1.6 * layer.weight.size + 18.0 * layer.rows + 20.0

    def table_bytes(self, layer: IntegerLayer, machine: Machine) -> int:
        return 4 * (-(-layer.rows // 2)) * (-(-layer.columns // 2)) + 8 * layer.rows + 250

    def print(self, layer: IntegerLayer, scope: Scope) -> list[str]:
        scope.math.add("pairs")
        blocks = cut(layer.rows, WIDTHS)
        comment = f"{layer.rows} x {layer.columns}: [block][pair of inputs][pair of outputs], in a word two of each"
        weight = scope.table(layer.name, np.concatenate([pack(layer.weight, s, n) for s, n in blocks]), comment)
        finish = Finish(layer, scope)
        lines = [f"const int8_t *w = {weight};"]
        for start, width, count in runs(blocks):
            lines += _blocks(layer, finish, start, width, count)
        return lines


def pack(weight: np.ndarray, start: int, width: int) -> np.ndarray:
    """One block of rows, flat, zero-padded to whole pairs."""
    rows = weight[start : start + width]
    block = np.zeros((width, rows.shape[1] + rows.shape[1] % 2), np.int8)
    block[: len(rows), : rows.shape[1]] = rows
    # [pair of rows, row, pair of columns, column] -> [pair of columns, pair of rows, column, row]
    return np.ascontiguousarray(block.reshape(width // 2, 2, -1, 2).transpose(2, 0, 3, 1)).reshape(-1)


def _blocks(layer: IntegerLayer, finish: Finish, start: int, width: int, count: int) -> list[str]:
    rows = range(width)
    rounds, rest = divmod(-(-layer.columns // 2), PAIRS)
    lines = ["int32_t " + ", ".join(f"s{k} = 0" for k in rows) + ";", "const int16_t *in = x;"]
    if rounds:
        lines.append(f"for (int i = 0; i < {rounds}; ++i, in += {2 * PAIRS}, w += {2 * width * PAIRS}) {{")
        lines += [f"  {_one_pair(width, u)}" for u in range(PAIRS)]
        lines.append("}")
    lines += [_one_pair(width, u) for u in range(rest)]
    if rest:
        lines.append(f"w += {2 * width * rest};")
    for k in rows:
        if start + k < layer.rows:
            lines += finish.row(f"s{k}", f"o + {k}")
        else:
            lines.append(f"(void)s{k};")
    return [f"for (int o = {start}; o < {start + count * width}; o += {width}) {{", *(f"  {line}" for line in lines), "}"]


def _one_pair(width: int, u: int) -> str:
    """All rows of the block take two inputs: loads first, arithmetic afterwards."""
    words = range(width // 2)
    load = f"uint32_t v = policy_load_word(in + {2 * u}), "
    load += ", ".join(f"a{k} = policy_load_word(w + {2 * width * u + 4 * k})" for k in words)
    held = ", ".join(f'"+r"({name})' for name in ("v", *(f"a{k}" for k in words)))
    sums = " ".join(
        f"s{2 * k} = policy_smlad(v, policy_even(a{k}), s{2 * k}); s{2 * k + 1} = policy_smlad(v, policy_odd(a{k}), s{2 * k + 1});"
        for k in words
    )
    return f"{{ {load}; POLICY_HELD({held}); {sums} }}"
