"""Percentiles that the sample supports, with distribution-free intervals; histograms.

Method: the number of n independent samples below the q-quantile is Binomial(n, q), so two order statistics
(x_l, x_u) enclose the quantile with the probability P(l <= B <= u - 1) whatever the distribution is
(David and Nagaraja, Order Statistics, 3rd ed., section 7.1). Latencies that follow each other are not quite
independent (an interrupt spoils neighbors), so the intervals are the least that must be doubted, not the most.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Any

import numpy as np

from ...figure import Figure, Source

CONFIDENCE = 0.99
"""Confidence of the interval that must fit into the sample before a percentile is reported."""
MAX_BINS = 60


def _binomial_cdf(n: int, q: float) -> tuple[int, np.ndarray]:
    """(first, F): F[i] = P(B <= first + i) for B ~ Binomial(n, q), over the window that holds all but about 1e-30."""
    half = 12 * math.sqrt(n * q * (1 - q)) + 40
    first, last = max(0, int(n * q - half)), min(n, int(n * q + half) + 1)
    k = np.arange(first, last + 1)
    at_first = (
        math.lgamma(n + 1)
        - math.lgamma(first + 1)
        - math.lgamma(n - first + 1)
        + first * math.log(q)
        + (n - first) * math.log1p(-q)
    )
    steps = np.log((n - k[:-1]) / (k[:-1] + 1)) + math.log(q / (1 - q))
    return first, np.minimum(np.cumsum(np.exp(at_first + np.concatenate([[0.0], np.cumsum(steps)]))), 1.0)


@lru_cache(maxsize=256)
def interval_ranks(n: int, q: float, confidence: float = CONFIDENCE) -> tuple[int, int] | None:
    """Ranks (l, u), 1 <= l < u <= n, of order statistics that enclose the ``q`` quantile with ``confidence``; or None.

    Equal tails where both fit; where one tail runs out of sample, the extreme stands there and what is left of
    the doubt goes to the other side. None means that not even (minimum, maximum) is enough:
    1 - q^n - (1 - q)^n < confidence. For p99.9 at 99 % that is n < 4,603; for p99, n < 459; for p50, n < 8.
    """
    if not 0 < q < 1 or not 0 < confidence < 1:
        raise ValueError("q and confidence lie between 0 and 1")
    doubt = 1 - confidence
    # log1p/expm1 keep the tail's digits where q^n is tiny.
    above, below = math.exp(n * math.log(q)), math.exp(n * math.log1p(-q))
    if n < 2 or above + below > doubt:
        return None
    first, cdf = _binomial_cdf(n, q)

    def lower(budget: float) -> int:
        """Largest l with P(B <= l - 1) <= budget, at least 1."""
        return max(1, first + int(np.searchsorted(cdf, budget, side="right")))

    def upper(budget: float) -> int:
        """Smallest u with P(B >= u) = 1 - P(B <= u - 1) <= budget, at most n."""
        return min(n, first + int(np.searchsorted(cdf, 1 - budget, side="left")) + 1)

    upper_doubt, lower_doubt = max(doubt / 2, above), max(doubt / 2, below)
    if above > doubt / 2:
        lower_doubt = doubt - above
    elif below > doubt / 2:
        upper_doubt = doubt - below
    return lower(lower_doubt), upper(upper_doubt)


def samples_needed(q: float, confidence: float = CONFIDENCE) -> int:
    """The smallest n whose sample supports the ``q`` quantile at all, such as 4,603 for 0.999 at 99 %."""
    n = max(2, math.ceil(math.log(1 - confidence) / math.log(max(q, 1 - q))) - 2)
    while interval_ranks(n, q, confidence) is None:
        n += 1
    return n


def percentile(sorted_values: np.ndarray, q: float) -> float:
    """The order statistic of rank ceil(q n): a value that really occurred. ``sorted_values`` [n] ascending."""
    n = len(sorted_values)
    return float(sorted_values[min(n, max(1, math.ceil(q * n - 1e-9))) - 1])


def percentile_figures(prefix: str, values_us: np.ndarray, *, source: Source, device: str, note: str = "") -> dict[str, Figure]:
    """PREFIX_p50_us, _p99_us, _p999_us and _worst_us of latencies [n] in microseconds.

    A percentile that the sample does not support has the value None and a note that says how much would do.
    """
    ordered = np.sort(np.asarray(values_us, np.float64))
    n = len(ordered)
    figures: dict[str, Figure] = {}
    for name, q in (("p50", 0.5), ("p99", 0.99), ("p999", 0.999)):
        ranks = interval_ranks(n, q)
        if ranks is None:
            figures[f"{prefix}_{name}_us"] = Figure(
                None,
                "us",
                source,
                samples=n,
                device=device,
                note=f"{n:,} samples do not support p{q * 100:g}: its {CONFIDENCE:.0%} interval needs {samples_needed(q):,}",
            )
            continue
        figures[f"{prefix}_{name}_us"] = Figure(
            percentile(ordered, q),
            "us",
            source,
            samples=n,
            low=float(ordered[ranks[0] - 1]),
            high=float(ordered[ranks[1] - 1]),
            spread=f"{CONFIDENCE:.0%} order-statistic interval",
            device=device,
            note=note,
        )
    figures[f"{prefix}_worst_us"] = Figure(
        float(ordered[-1]) if n else None,
        "us",
        source,
        samples=n,
        device=device,
        note="; ".join(filter(None, (note, f"the worst of {n:,}: a longer run may meet worse"))),
    )
    return figures


def histogram(values_us: np.ndarray, bins: int = MAX_BINS) -> dict[str, Any]:
    """Log-spaced histogram of latencies [n] in microseconds that holds every sample: edges_us [bins + 1], counts [bins]."""
    values = np.maximum(np.asarray(values_us, np.float64), 1e-3)
    low, high = float(values.min()), float(values.max())
    if high <= low * 1.01:
        low, high = low / 1.005, high * 1.005
    edges = np.geomspace(low, high, min(bins, MAX_BINS) + 1)
    edges[0], edges[-1] = min(edges[0], low), max(edges[-1], high)
    counts, _ = np.histogram(values, edges)
    return {"edges_us": [float(edge) for edge in edges], "counts": [int(count) for count in counts]}
