"""How late actions are: a measured distribution of latencies, read from a bench result and drawn from in training."""

from __future__ import annotations

import math
import os
from bisect import bisect_right
from functools import cached_property
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass

from .. import sealed
from ..errors import BadInput

STRICT = ConfigDict(extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)
MAX_US = 10e6
"""Ten seconds: no control loop waits longer, and a draw must not fill the memory with actions that wait."""
PREFERRED = ("paced", "tight", "call")
"""Of a bench's histograms: from the release of the period to its action; the call alone; the call from Python."""


@dataclass(frozen=True, config=STRICT)
class Latency:
    """A histogram of latencies in microseconds; within a bin, every value is as likely as any other."""

    edges_us: Annotated[tuple[float, ...], Field(min_length=2, max_length=1001)]
    """Bounds of the bins, in order, bins + 1 of them; two equal ones hold a single value."""
    counts: tuple[int, ...]
    """How often each bin was met."""
    source: str = Field(default="", max_length=200)
    """What was measured, in words."""

    @model_validator(mode="after")
    def _check(self) -> Latency:
        if len(self.counts) != len(self.edges_us) - 1:
            raise ValueError(f"{len(self.edges_us)} edges bound {len(self.edges_us) - 1} bins, and there are {len(self.counts)}")
        if any(high < low for low, high in pairwise(self.edges_us)) or not 0 <= self.edges_us[0] <= self.edges_us[-1] <= MAX_US:
            raise ValueError(f"edges must rise from 0 or more to at most {MAX_US:g} us")
        if min(self.counts) < 0 or not 1 <= sum(self.counts) <= 2**53:
            raise ValueError("counts must be 0 or more, and their sum from 1 to 2^53")
        return self

    @property
    def mean_us(self) -> float:
        """Mean of the distribution."""
        middles = [(low + high) / 2 for low, high in pairwise(self.edges_us)]
        return sum(n * middle for n, middle in zip(self.counts, middles, strict=True)) / sum(self.counts)

    def draw_us(self, random: np.random.Generator) -> float:
        """One latency, by the inverse of the distribution function."""
        ends = self._ends
        place = random.random() * ends[-1]
        index = bisect_right(ends, place)  # never an empty bin, nor past the last one: random() stays below 1
        share = (place - (ends[index] - self.counts[index])) / self.counts[index]
        return self.edges_us[index] + share * (self.edges_us[index + 1] - self.edges_us[index])

    @cached_property
    def _ends(self) -> tuple[int, ...]:
        """How many samples lie in each bin or below it."""
        return tuple(accumulate(self.counts))

    @staticmethod
    def fixed(us: float) -> Latency:
        """Always the same."""
        return Latency((float(us), float(us)), (1,), f"{us:g} us, as asked for")

    @staticmethod
    def read(path: str | os.PathLike[str]) -> Latency:
        """What ``pilotfish bench`` stored: results/bench.json, or the artifact's folder that it lies in.

        The paced histogram where there is one (from the release of the period to the action), else the tight loop's; for a
        virtual board, which has neither, any value of its band of ``guarded_latency_us``, else ``latency_us``. Raises BadInput
        for any other file.
        """
        file = Path(path)
        if file.is_dir():
            file = file / "results" / "bench.json"
        data = sealed.read_json(file, "the result of a bench (pilotfish bench ARTIFACT writes results/bench.json into it)")
        try:
            return _of_bench(data, file)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise BadInput(
                file,
                expected="a histogram of latencies, or a band of them, as pilotfish bench stores it",
                found=f"{type(error).__name__}: {str(error)[:160]}",
            ) from error


def _of_bench(data: dict[str, Any], file: Path) -> Latency:
    histograms = data.get("histograms") or {}
    for name in PREFERRED:
        if name in histograms:
            table = histograms[name]
            return Latency(tuple(table["edges_us"]), tuple(table["counts"]), f"{name} latency of {file.parent.parent.name}")
    band = data["figures"].get("guarded_latency_us") or data["figures"]["latency_us"]  # what is sent passes the guard
    low, high = float(band["low"]), float(band["high"])
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ValueError(f"a band from {low} to {high} us")
    return Latency((low, high), (1,), f"estimated latency of {file.parent.parent.name}")
