"""Integer layers in vector registers: every lane is an output, and takes two or four neighboring inputs at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..machine import Machine
from .blocks import cut, pad, runs
from .integer_layer import IntegerLayer

if TYPE_CHECKING:
    from ..operators.operator import Scope

WIDTHS = (64, 32, 16, 8, 4)
"""Outputs of a block, none narrower than a vector register."""
FUNCTIONS = {"": "{z}", "Tanh": "policy_lanes_tanh({z}, {scale})"}
"""Activations that are computed on the way from sums to integers, times ``scale``."""
SUMS = 64
"""Running sums that a block keeps at least, to hide the latency of a multiplication; a narrow block reads several groups of
inputs per round to have as many."""


class Int8Vector:
    """vpmaddwd, vpdpwssd, vpdpbusd or sdot, by what the inputs are stored as (math_lanes_integer.c).

    The result is float, or goes through the activation to the next grid without leaving the registers.
    """

    name = "dense int8, vectors"

    def cost(self, layer: IntegerLayer, machine: Machine) -> float | None:
        if not machine.vectors:
            return None
        padded = sum(width for _, width in cut(layer.rows, _widths(machine)))
        return padded * layer.columns / (machine.vector_floats * group(layer)) + 20.0

    def table_bytes(self, layer: IntegerLayer, machine: Machine) -> int:
        padded = sum(width for _, width in cut(layer.rows, _widths(machine)))
        size = 1 if group(layer) == 4 else 2
        return padded * (size * -(-layer.columns // group(layer)) * group(layer) + 8) + 300

    def print(self, layer: IntegerLayer, scope: Scope) -> list[str]:
        blocks, many = cut(layer.rows, _widths(scope.machine)), group(layer)
        packed = np.concatenate([_packed(layer.weight, start, width, many) for start, width in blocks])
        padded = sum(width for _, width in blocks)
        comment = f"{layer.rows} x {layer.columns}: [block][group of {many} inputs][output of the block][input of the group]"
        weight = scope.table(layer.name, packed.astype(np.int8 if many == 4 else np.int16), comment)
        # Without a function on the way, sums become steps of the next grid at once.
        unit = layer.grid.scale if layer.grid is not None and not layer.function else 1.0
        names = {
            which: scope.table(f"{layer.name}_{which}", pad((values / unit).astype(np.float32), padded), f"{layer.rows} values")
            for which, values in (("bias", layer.bias), ("scale", layer.scale))
        }
        function = scope.call("dot2" if many == 2 else "dot4_unsigned" if layer.inputs.unsigned else "dot4_signed")
        lines = [f"const int{8 if many == 4 else 16}_t *w = {weight};"]
        for start, width, count in runs(blocks):
            lines += _block(layer, scope, start, start + width * count, width, function, names)
        return lines


def _widths(machine: Machine) -> tuple[int, ...]:
    return tuple(width for width in WIDTHS if width >= machine.vector_floats)


def group(layer: IntegerLayer) -> int:
    """Inputs that one instruction takes per output."""
    return 4 if layer.inputs.kind == "int8_t" else 2


def _packed(weight: np.ndarray, start: int, width: int, many: int) -> np.ndarray:
    """One block, flat, zero-padded to whole groups and to ``width`` outputs."""
    rows = weight[start : start + width]
    block = np.zeros((width, -(-rows.shape[1] // many) * many), weight.dtype)
    block[: len(rows), : rows.shape[1]] = rows
    return np.ascontiguousarray(block.reshape(width, -1, many).transpose(1, 0, 2)).reshape(-1)


def _block(
    layer: IntegerLayer, scope: Scope, start: int, stop: int, width: int, function: str, names: dict[str, str]
) -> list[str]:
    many = group(layer)
    scope.math.add("rolled")  # unrolled as a whole, as GCC does with few inputs, the sums no longer fit the registers
    groups, at_once = -(-layer.columns // many), max(1, SUMS // width)
    while at_once > groups:
        at_once //= 2
    vectors = f"{width} / POLICY_LANES"
    each = f"for (int k = 0; k < {vectors}; ++k)"
    every = f"for (int u = 0; u < {at_once}; ++u) {each}"
    add = f"sum[u][k] = {function}(sum[u][k], &w[{many} * (u * {width} + k * POLICY_LANES)], in);"
    whole = groups - groups % at_once
    lines = [
        f"policy_ivec sum[{at_once}][{vectors}];",
        f"{every} sum[u][k] = policy_no_sum();",
        "POLICY_ROLLED",
        f"for (int i = 0; i < {whole}; i += {at_once}, w += {many * at_once * width})",
        f"  for (int u = 0; u < {at_once}; ++u) {{",
        f"    const int32_t in = policy_load_neighbors(x + {many} * (i + u));",
        f"    {each} {add}",
        "  }",
    ]
    if whole < groups:
        lines += [
            "POLICY_ROLLED",
            f"for (int i = {whole}; i < {groups}; ++i, w += {many * width}) {{",
            f"  const int32_t in = policy_load_neighbors(x + {many} * i);",
            f"  {each} {add.replace('[u]', '[0]').replace('(u * ' + str(width) + ' + ', '(')}",
            "}",
        ]
    if at_once > 1:
        lines.append(f"for (int u = 1; u < {at_once}; ++u) {each} sum[0][k] += sum[u][k];")
    at = "[o + k * POLICY_LANES]"
    value = f"policy_load(&{names['bias']}{at}) + policy_load(&{names['scale']}{at}) * policy_to_float(sum[0][k])"
    lines.append(f"{each} {_result(layer, scope, f'y{at}', value)};")
    return [f"for (int o = {start}; o < {stop}; o += {width}) {{", *(f"  {line}" for line in lines), "}"]


def _result(layer: IntegerLayer, scope: Scope, to: str, value: str) -> str:
    """The statement that stores one vector of results."""
    from ..operators.operator import number  # operators import kernels: not at load time

    grid = layer.grid
    if grid is None or layer.outputs is None:
        return f"policy_store(&{to}, {value})"
    low, high = (q - grid.zero for q in layer.limits)
    reach = np.inf
    if layer.function:
        value = FUNCTIONS[layer.function].format(z=value, scale=number(1 / grid.scale))
        scope.math.add(f"lanes_{layer.function.lower()}")
        reach = np.round((1 + 1e-6) / grid.scale)  # rounding may take a function of at most 1 a little past it
    if -reach < low:
        value = f"policy_lanes_at_least({value}, {number(low)})"
    if reach > high:
        value = f"policy_lanes_at_most({value}, {number(high)})"
    narrow = scope.call(f"lanes_store_{layer.outputs.kind.removesuffix('_t')}")
    return f"{narrow}(&{to}, {scope.call('lanes_round')}({value}), {grid.zero - layer.outputs.origin})"
