"""Cutting the outputs of a dense layer into blocks whose weights are stored [input][output of the block]."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def cut(rows: int, widths: Sequence[int]) -> list[tuple[int, int]]:
    """(first output, width) of every block, with widths widest first; only the last block may reach past ``rows``."""
    blocks, start = [], 0
    while start < rows:
        width = next((b for b in widths if b <= rows - start), widths[-1])
        blocks.append((start, width))
        start += width
    return blocks


def runs(blocks: Sequence[tuple[int, int]]) -> list[tuple[int, int, int]]:
    """(first output, width, how many) for stretches of equally wide blocks."""
    found: list[tuple[int, int, int]] = []
    for start, width in blocks:
        if found and found[-1][1] == width:
            found[-1] = (found[-1][0], width, found[-1][2] + 1)
        else:
            found.append((start, width, 1))
    return found


def pad(vector: np.ndarray, size: int) -> np.ndarray:
    """``vector`` with zeros behind it."""
    return np.concatenate([vector, np.zeros(size - len(vector), vector.dtype)])


def pack(weight: np.ndarray, start: int, width: int) -> np.ndarray:
    """One block as a flat [in][width] table, zero-padded to ``width`` outputs."""
    block = np.zeros((width, weight.shape[1]), weight.dtype)
    rows = weight[start : start + width]
    block[: len(rows)] = rows
    return np.ascontiguousarray(block.T).reshape(-1)
