"""How weights of 2, 3 and 4 bits lie in flash: four rows to an input, no bit lost but at the ends of a layer."""

from __future__ import annotations

import numpy as np

ROWS = 4
"""Rows whose weights lie together: 16, 12 or 8 bits to an input."""


def packed_rows(weight: np.ndarray, bits: int) -> np.ndarray:
    """uint16: blocks of four rows of int8 [out, in] as templates/math_sums_Nbits.c and math_sums_Nbits_pairs.c read them."""
    blocks = [_pairs(codes(weight[start : start + ROWS], bits, 2), bits) for start in range(0, len(weight), ROWS)]
    return np.concatenate(blocks) if blocks else np.zeros(0, np.uint16)


def packed_inputs(weight: np.ndarray, bits: int) -> np.ndarray:
    """The same for kernels that take one float input after the other: uint16 (4 and 3 bits) or uint8 (2 bits).

    3 bits: groups of four inputs in three numbers, whose upper four bits hold the fourth; the inputs left have one each.
    """
    blocks = []
    for start in range(0, len(weight), ROWS):
        inputs = codes(weight[start : start + ROWS], bits, 1)
        if bits == 3:
            groups, rest = np.split(inputs, [len(inputs) // 4 * 4])
            inputs = np.concatenate([_fourth_in_three(groups.reshape(-1, 4).T).T.reshape(-1), rest])
        blocks.append(inputs.astype(np.uint8 if bits == 2 else np.uint16))
    return np.concatenate(blocks)


def packed_bytes(rows: int, columns: int, bits: int) -> int:
    """Bytes of ``packed_rows`` for a layer of that shape."""
    pairs = -(-columns // 2)
    words = {4: pairs, 3: 3 * (pairs // 4) + pairs % 4, 2: -(-pairs // 2)}[bits]
    return 4 * words * -(-rows // ROWS)


def codes(rows: np.ndarray, bits: int, multiple: int) -> np.ndarray:
    """int64 [inputs]: unsigned weights of up to four rows, row k from bit k * bits on; zero weights fill what is missing."""
    columns = -(-rows.shape[1] // multiple) * multiple
    wide = np.zeros((ROWS, columns), np.int64)
    wide[: len(rows), : rows.shape[1]] = rows
    return ((wide + (1 << bits - 1)) << (bits * np.arange(ROWS))[:, None]).sum(axis=0)


def _fourth_in_three(group: np.ndarray) -> np.ndarray:
    """12 bits of four inputs, int64 [4, …] -> 16 bits of three, [3, …]."""
    return group[:3] | (group[3] >> 4 * np.arange(3)[(...,) + (None,) * (group.ndim - 1)] & 15) << 12


def _pairs(inputs: np.ndarray, bits: int) -> np.ndarray:
    """One block: halves of words that hold pairs of inputs, the first input of a pair in the lower half."""
    pairs = inputs.reshape(-1, 2)
    if bits == 3:
        groups, rest = np.split(pairs, [len(pairs) // 4 * 4])
        threes = _fourth_in_three(groups.reshape(-1, 4, 2).transpose(1, 0, 2)).transpose(1, 0, 2)
        pairs = np.concatenate([threes.reshape(-1, 2), rest])
    elif bits == 2:
        if len(pairs) % 2:
            pairs = np.concatenate([pairs, np.zeros((1, 2), np.int64)])
        pairs = pairs[0::2] | pairs[1::2] << 8
    return pairs.astype(np.uint16).reshape(-1)
