"""Batch-1 schedules: one row times a matrix, in vector registers, with the matrix laid out as it is read.

TVM's default leaves ``sum_k x[k] W[k, j]`` as a scalar loop over k inside one over j, which reads a new cache line of W
for every product. Here a block of columns stays in registers while k runs, and W is stored block by block, so that it is
read once from start to end: the most that batch 1 allows, since each weight is used once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import require

VECTORS = 8
"""Registers of one block of columns. Sixteen (AVX2) hold them, the row's value and what is being loaded."""
CHAINS = 8
"""Sums that run side by side at least: a fused multiply-add takes four to five cycles, and two can start in each."""
ODD_FLOATS = 128
"""A width that no block divides is one block up to here, and left as TVM has it beyond."""


@dataclass(frozen=True)
class Packing:
    """How a weight matrix is stored: W[k, j] -> P[j // columns, k, j % columns]."""

    parameter: int
    """Which parameter of the kernel it is."""
    columns: int
    """Columns of one block."""

    def pack(self, matrix: np.ndarray) -> np.ndarray:
        """[K, N] -> [N / columns, K, columns]"""
        rows = len(matrix)
        return np.ascontiguousarray(matrix.reshape(rows, -1, self.columns).transpose(1, 0, 2))


@dataclass(frozen=True, eq=False)
class Scheduled:
    """A kernel with its schedule."""

    function: Any
    """The PrimFunc."""
    packing: Packing | None
    """How its matrix must be handed over; None: as it is."""
    how: str
    """The schedule in words, for artifact.json."""


def scheduled(
    function: Any, vector_floats: int, constant: tuple[bool, ...], *, vectors: int = VECTORS, chains: int = CHAINS
) -> Scheduled:
    """``function`` (a fused PrimFunc) with the batch-1 schedule that fits its shape; as it was where none does.

    ``constant`` says which parameters are constants, which can be laid out anew. A block of columns takes ``vectors``
    registers; where it takes fewer than ``chains``, the sum over k is split, so that as many sums run side by side.
    """
    s_tir = require("tvm.s_tir", "tvm")
    # A schedule works on the function itself where nobody else seems to hold it: without new definitions, a second one
    # would start from what the first has done.
    schedule = s_tir.Schedule(s_tir.renew_defs(function).with_attr("global_symbol", "main"))
    try:
        packing, how = _apply(schedule, vector_floats, constant, vectors, chains)
    except s_tir.ScheduleError as error:
        # TVM says what it could not do; the kernel then runs as TVM's default has it, and artifact.json says so.
        reason = next((line for line in str(error).splitlines() if "Error message" in line), "refused by TVM")
        return Scheduled(function, None, f"default ({reason.strip()[:80]})")
    return Scheduled(schedule.mod["main"].without_attr("global_symbol"), packing, how)


def _apply(schedule: Any, lanes: int, constant: tuple[bool, ...], vectors: int, chains: int) -> tuple[Packing | None, str]:
    blocks = schedule.get_child_blocks(schedule.get_sblock("root"))
    sums = [block for block in blocks if _is_sum(schedule, block)]
    if not sums:
        _inline(schedule, blocks)
        left = schedule.get_child_blocks(schedule.get_sblock("root"))
        widths = [_vectorize(schedule, block, lanes) for block in left]
        return None, f"elementwise, {max(widths, default=1)} at a time"
    if len(sums) > 1 or not _is_row_times_matrix(schedule, sums[0]):
        return None, "default"
    return _row_times_matrix(schedule, blocks, sums[0], lanes, constant, vectors, chains)


def _is_sum(schedule: Any, block: Any) -> bool:
    return any(int(variable.iter_type) == 2 for variable in schedule.get(block).iter_vars)


def _extents(schedule: Any, block: Any) -> list[int]:
    return [int(schedule.get(loop).extent) for loop in schedule.get_loops(block)]


def _is_row_times_matrix(schedule: Any, block: Any) -> bool:
    """y[0, j] = sum_k x[0, k] W[k, j]?"""
    kinds = [int(variable.iter_type) for variable in schedule.get(block).iter_vars]
    extents = _extents(schedule, block)
    if kinds != [0, 0, 2] or extents[0] != 1 or not str(schedule.get(block).name_hint).startswith("matmul"):
        return False
    return _matrix(schedule, block) is not None


def _matrix(schedule: Any, block: Any) -> int | None:
    """Which of the block's reads is W."""
    _, columns, rows = _extents(schedule, block)
    shapes = [[int(size) for size in region.source.shape] for region in schedule.get(block).reads]
    return next((index for index, shape in reversed(list(enumerate(shapes))) if shape == [rows, columns]), None)


def _inline(schedule: Any, blocks: list[Any]) -> None:
    """Every block that only feeds others disappears into them; outputs stay."""
    error = require("tvm.s_tir", "tvm").ScheduleError
    for block in blocks:
        try:
            schedule.compute_inline(block)
        except error:
            continue


def _vectorize(schedule: Any, block: Any, lanes: int) -> int:
    """Vectorize a block of independent values in registers of ``lanes``; returns how many go together."""
    loops = schedule.get_loops(block)
    total = int(np.prod([int(schedule.get(loop).extent) for loop in loops]))
    if total == 1:
        return 1
    loop = schedule.fuse(*loops) if len(loops) > 1 else loops[0]
    width = columns_per_block(total, lanes, 2)
    schedule.vectorize(schedule.split(loop, [None, width])[1])
    return width


def _divisor(number: int, most: int) -> int:
    return max(d for d in range(1, most + 1) if number % d == 0)


def columns_per_block(width: int, lanes: int, vectors: int) -> int:
    """How many of ``width`` values go together: as many as ``vectors`` registers hold and divide it, else all of them."""
    most = lanes * vectors
    if width <= most:
        return width
    best = _divisor(width, most)
    return width if best < lanes and width <= ODD_FLOATS else best


def _row_times_matrix(
    schedule: Any, blocks: list[Any], product: Any, lanes: int, constant: tuple[bool, ...], vectors: int, most_chains: int
) -> tuple[Packing | None, str]:
    position = [str(schedule.get(block).name_hint) for block in blocks].index(str(schedule.get(product).name_hint))
    after = blocks[position + 1 :]
    _inline(schedule, after[:-1])
    _inline(schedule, blocks[:position])
    _, width, depth = _extents(schedule, product)
    columns = columns_per_block(width, lanes, vectors)
    chains = _divisor(depth, max(1, most_chains // -(-columns // lanes)))
    packing = None
    if columns < width:
        packing = _pack(schedule, product, columns, constant)
    row, column, deep = schedule.get_loops(product)
    if chains > 1:
        deep, chain = schedule.split(deep, [None, chains])
        partial = schedule.rfactor(chain, 0)
        row, column, deep, chain = schedule.get_loops(partial)
        block, inner = schedule.split(column, [None, columns])
        schedule.reorder(row, block, deep, chain, inner)
        schedule.vectorize(inner)
        schedule.unroll(chain)
        row, column, chain = schedule.get_loops(product)
        final_block, final_inner = schedule.split(column, [None, columns])
        schedule.reorder(row, final_block, chain, final_inner)
        schedule.vectorize(final_inner)
        schedule.unroll(chain)
        schedule.decompose_reduction(product, chain)
        schedule.decompose_reduction(partial, deep)
    else:
        block, inner = schedule.split(column, [None, columns])
        schedule.reorder(row, block, deep, inner)
        schedule.vectorize(inner)
        if after:
            schedule.reverse_compute_at(after[-1], block)
            last = schedule.get_loops(after[-1])[-1]
            size = columns_per_block(int(schedule.get(last).extent), lanes, 2)
            schedule.vectorize(schedule.split(last, [None, size])[1])
            after = []
        schedule.decompose_reduction(product, deep)
    if after:
        _vectorize(schedule, after[-1], lanes)
    how = f"{columns} columns in registers" + (f", {chains} sums side by side" if chains > 1 else "")
    return packing, how + (", matrix packed" if packing else "")


def _pack(schedule: Any, product: Any, columns: int, constant: tuple[bool, ...]) -> Packing | None:
    """Lay W out block by block; None where it is no constant: then its maker laid it out."""
    index = _matrix(schedule, product)
    assert index is not None  # asked before
    source = schedule.get(product).reads[index].source
    parameters = list(schedule.mod["main"].params)
    which = next((i for i, parameter in enumerate(parameters) if parameter.same_as(source)), None)
    if which is None or not constant[which]:
        return None
    schedule.transform_layout(product, ("read", index), lambda k, j: (j // columns, k, j % columns))
    return Packing(which, columns)
