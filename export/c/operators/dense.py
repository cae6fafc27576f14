"""Dense layers: Gemm and MatMul with constant weights, float32 or int8 with a scale per output."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..constants import Int8Rows
from ..graph import Graph, Node
from .operator import Layout, Printed, Scope, pointers


@dataclass
class Dense(Printed):
    """y[o] = bias[o] + scale[o] * sum_i weight[o][i] * x[i]; scale is 1 for float32 weights.

    The plain loop is the truth. What is printed sums in the same order where a block reads one input per
    round, and in ``sums / block`` interleaved partial sums where it reads several.
    """

    weight: np.ndarray = None  # type: ignore[assignment]
    """float32 or int8 [out, in]."""
    scale: np.ndarray | None = None
    """float32 [out] of int8 weights."""
    bias: np.ndarray = None  # type: ignore[assignment]
    """float32 [out]."""
    hint: str = ""
    """Name of the weights, for the C tables."""

    @classmethod
    def read(cls, node: Node, graph: Graph) -> Dense:
        x, name = node.inputs[:2]
        attributes = node.attributes
        if attributes.get("transA", 0):
            raise node.refuse("transA = 0", "1")
        weight, scale = _oriented(node, graph, name, rows_are_outputs=bool(attributes.get("transB", 0)))
        rows, columns = weight.shape
        if x not in graph.sizes or graph.sizes[x] != columns:
            raise node.refuse(f"{columns} computed inputs", f"{graph.sizes.get(x, 'a constant')}")
        alpha, beta = float(attributes.get("alpha", 1.0)), float(attributes.get("beta", 1.0))
        if scale is not None:
            scale = (scale * alpha).astype(np.float32)
        elif alpha != 1:
            weight = (weight * alpha).astype(np.float32)
        bias = np.zeros(rows, np.float32)
        if len(node.inputs) > 2 and node.inputs[2]:
            if node.inputs[2] not in graph.constants:
                raise node.refuse("a constant bias", f"{node.inputs[2]!r}, which is computed")
            given = graph.vector(node, node.inputs[2])
            bias = np.broadcast_to(given * beta, rows).astype(np.float32)
        return cls(node, (x,), rows, weight, scale, bias, name)

    def print(self, scope: Scope) -> list[str]:
        rows, columns = self.weight.shape
        blocks = cut(rows, scope.layout)
        packed = np.concatenate([_pack(self.weight, start, width) for start, width in blocks])
        padded = sum(width for _, width in blocks)
        kind = "int8" if self.scale is not None else "float"
        weight = scope.table(self.hint, packed, f"{rows} x {columns}, by blocks of outputs: [block][input][output of the block]")
        bias = scope.table(f"{self.node.name}_bias", _pad(self.bias, padded), f"{rows} values")
        c_type = "int8_t" if kind == "int8" else "float"
        lines = [*pointers(scope, self.output, x=self.reads[0]), f"const {c_type} *w = {weight};"]
        scale = None if self.scale is None else scope.table(f"{self.hint}_scale", _pad(self.scale, padded), f"{rows} values")
        scope.math.add("lanes" if scope.layout.lanes else "")
        if kind == "int8" and scope.layout.lanes:
            scope.math.add("lanes_int8")
        printer = _lanes if scope.layout.lanes else _floats
        for start, width, count in _runs(blocks):
            lines += printer(start, start + width * count, width, columns, scope.layout, bias, scale)
        return lines


def cut(rows: int, layout: Layout) -> list[tuple[int, int]]:
    """(first output, width) of every block; only the last may reach past ``rows``."""
    blocks, start = [], 0
    while start < rows:
        width = next((b for b in layout.blocks if b <= rows - start), layout.blocks[-1])
        blocks.append((start, width))
        start += width
    return blocks


def _runs(blocks: list[tuple[int, int]]) -> list[tuple[int, int, int]]:
    """(first output, width, how many) for stretches of equally wide blocks."""
    runs: list[tuple[int, int, int]] = []
    for start, width in blocks:
        if runs and runs[-1][1] == width:
            runs[-1] = (runs[-1][0], width, runs[-1][2] + 1)
        else:
            runs.append((start, width, 1))
    return runs


def _pad(vector: np.ndarray, size: int) -> np.ndarray:
    return np.concatenate([vector, np.zeros(size - len(vector), vector.dtype)])


def _pack(weight: np.ndarray, start: int, width: int) -> np.ndarray:
    """One block as a flat [in][width] table, zero-padded to ``width`` outputs."""
    block = np.zeros((width, weight.shape[1]), weight.dtype)
    rows = weight[start : start + width]
    block[: len(rows)] = rows
    return np.ascontiguousarray(block.T).reshape(-1)


def _oriented(node: Node, graph: Graph, name: str, *, rows_are_outputs: bool) -> tuple[np.ndarray, np.ndarray | None]:
    """The weight as [out, in], with its per-output scale if it can stay int8."""
    constant = graph.matrix(node, name)
    if isinstance(constant, Int8Rows) and constant.axis == (0 if rows_are_outputs else 1):
        return (constant.values if rows_are_outputs else constant.values.T), constant.scale
    dense = constant.dense() if isinstance(constant, Int8Rows) else constant
    if dense.dtype != np.float32:
        raise node.refuse("float32 weights", f"{dense.dtype}")
    return (dense if rows_are_outputs else dense.T), None


def _floats(start: int, stop: int, width: int, columns: int, _: Layout, bias: str, scale: str | None) -> list[str]:
    """``width`` rows at a time in single floats."""
    rows = range(width)
    cast = "(float)" if scale else ""
    begin = ", ".join(f"s{k} = " + ("0.0f" if scale else f"{bias}[o + {k}]") for k in rows)
    add = " ".join(f"s{k} += {cast}w[{k}] * x[i];" for k in rows)
    end = [f"y[o + {k}] = " + (f"{bias}[o + {k}] + {scale}[o + {k}] * s{k};" if scale else f"s{k};") for k in rows]
    return [
        f"for (int o = {start}; o < {stop}; o += {width}) {{",
        f"  float {begin};",
        f"  for (int i = 0; i < {columns}; ++i, w += {width}) {{ {add} }}",
        "  " + " ".join(end),
        "}",
    ]


def _lanes(start: int, stop: int, width: int, columns: int, layout: Layout, bias: str, scale: str | None) -> list[str]:
    """``width`` outputs at a time in vector registers; narrow blocks read several inputs per round."""
    inputs = max(1, layout.sums // width)
    while inputs > columns:
        inputs //= 2
    whole = columns - columns % inputs
    load = "policy_load_int8" if scale else "policy_load"
    vectors = f"{width} / POLICY_LANES"
    each = f"for (int k = 0; k < {vectors}; ++k)"
    others = f"for (int u = 1; u < {inputs}; ++u) {each}"
    at = "[o + k * POLICY_LANES]"
    first = "policy_zero()" if scale else f"policy_load(&{bias}{at})"
    lines = [f"policy_vec sum[{inputs}][{vectors}];", f"{each} sum[0][k] = {first};"]
    if inputs > 1:
        lines += [
            f"{others} sum[u][k] = policy_zero();",
            f"for (int i = 0; i < {whole}; i += {inputs}, w += {inputs * width})",
            f"  for (int u = 0; u < {inputs}; ++u)",
            f"    {each} sum[u][k] += {load}(&w[u * {width} + k * POLICY_LANES]) * x[i + u];",
        ]
    rest = whole if inputs > 1 else 0
    if rest < columns:
        lines += [
            f"for (int i = {rest}; i < {columns}; ++i, w += {width})",
            f"  {each} sum[0][k] += {load}(&w[k * POLICY_LANES]) * x[i];",
        ]
    if inputs > 1:
        lines.append(f"{others} sum[0][k] += sum[u][k];")
    value = f"policy_load(&{bias}{at}) + policy_load(&{scale}{at}) * sum[0][k]" if scale else "sum[0][k]"
    lines.append(f"{each} policy_store(&y{at}, {value});")
    return [f"for (int o = {start}; o < {stop}; o += {width}) {{", *(f"  {line}" for line in lines), "}"]
