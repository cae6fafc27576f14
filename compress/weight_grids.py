"""Weights on integer grids, or in float16: how a matrix is rounded after training."""

from __future__ import annotations

from typing import Literal

import numpy as np

from ..errors import BadInput, require

Granularity = Literal["row", "tensor"]


def quantized_rows(weight: np.ndarray, bits: int = 8, granularity: Granularity = "row") -> tuple[np.ndarray, np.ndarray]:
    """float32 [out, in] -> integers as int8 [out, in] and float32 scale [out]; W is about integers * scale per row.

    8 bits: the largest weight of a row is the end of its grid, as in ``policy.torch_grids.int8_rows``. Fewer: the step of least
    squared error (``policy.narrow.best_step``), which needs torch. "tensor": the same step in every row.
    """
    wide = weight.astype(np.float32)
    if not wide.size:
        return wide.astype(np.int8), np.full(len(wide), 1e-12, np.float32)
    most = np.float32((1 << bits - 1) - 1)
    if bits == 8:
        largest = np.abs(wide).max(axis=1) if granularity == "row" else np.full(len(wide), np.abs(wide).max(), np.float32)
        scale = np.maximum(largest, np.float32(1e-12)) / most
    else:
        torch = require("torch", "train")
        from ..policy.narrow import best_step

        rows = wide if granularity == "row" else wide.reshape(1, -1)
        scale = np.broadcast_to(best_step(torch.from_numpy(rows), bits).numpy(), len(wide)).copy()
    return np.clip(np.round(wide / scale[:, None]), -most, most).astype(np.int8), scale


def half(weight: np.ndarray, where: str) -> np.ndarray:
    """float16 [out, in], every weight rounded to the nearest. Raises BadInput for one beyond what float16 holds."""
    largest = float(np.finfo(np.float16).max)
    if (size := float(np.abs(weight).max(initial=0.0))) > largest:
        raise BadInput(where, expected=f"weights up to {largest:,.0f}, as float16 holds", found=f"{size:,.0f}")
    return weight.astype(np.float16)


def relative_error(before: np.ndarray, after: np.ndarray) -> float:
    """Frobenius norm of the difference over that of ``before``; 0 for a matrix of zeros."""
    size = float(np.linalg.norm(before))
    return round(float(np.linalg.norm(after - before)) / size, 6) if size else 0.0
