"""Float32 products of wide layers by the library that is quickest for them on this processor.

torch's x86 builds multiply float32 matrices with MKL, which keeps to AVX2 on processors that are not Intel's; oneDNN, which
torch also carries, uses AVX-512 wherever it finds it. On an AMD EPYC with AVX-512, 256 x 256 x 256 measured 101 GFLOP/s with
the one and 213 with the other, one thread. torch offers oneDNN for float32 only together with the permission to round to
bfloat16, which it makes use of where the processor has tiles for that (AMX). So the permission is given where a product shows
that nothing is rounded.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

WORTH = 2**21
"""Multiplications in a product from which oneDNN saves more than it costs per call: twice as fast at 128 rows x 128 x 128, even
at half of it, slower below."""


def largest(sizes: Sequence[int], rows: int) -> int:
    """Multiplications in the largest product of ``rows`` rows with a layer between these sizes."""
    return rows * max((a * b for a, b in itertools.pairwise(sizes)), default=0)


@contextlib.contextmanager
def wide_products(work: int, device: torch.device) -> Iterator[None]:
    """Within it torch's products on a CPU are the quickest float32 ones for layers of ``work`` multiplications.

    What torch was told before is told again after. It is one switch for the process.
    """
    if device.type != "cpu" or work < WORTH or not _helps():
        yield
        return
    settings = _settings()
    before = settings.fp32_precision
    settings.fp32_precision = "bf16"
    try:
        yield
    finally:
        settings.fp32_precision = before


@functools.cache
def _helps() -> bool:
    """Whether oneDNN is worth while here and exact: it follows from processor and torch alone, never from a timing."""
    settings = _settings()
    if not hasattr(settings, "fp32_precision") or not torch.backends.mkldnn.is_available():
        return False
    if torch.backends.cpu.get_cpu_capability() != "AVX512" or _vendor() == "GenuineIntel":
        return False
    before = settings.fp32_precision
    generator = torch.Generator().manual_seed(0)
    a, b = (torch.rand((256, 256), generator=generator) for _ in range(2))
    settings.fp32_precision = "bf16"
    try:
        found = a @ b
    finally:
        settings.fp32_precision = before
    exact = a.double() @ b.double()
    return bool(((found - exact).abs() / exact).max() < 1e-5)  # rounded to bfloat16: some 1e-4


def _settings() -> Any:
    """torch's, None where this torch has none."""
    return getattr(torch.backends.mkldnn, "matmul", None)


def _vendor() -> str:
    """What the processor calls its maker, "" where nothing says so."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("vendor_id"):
                return line.partition(":")[2].strip()
    return ""
