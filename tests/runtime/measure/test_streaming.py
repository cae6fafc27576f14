"""Law: any number of latencies in fixed memory, every one counted, and percentiles at most 1 % above the exact ones."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pilotfish.runtime.measure.percentiles import percentile, percentile_figures
from pilotfish.runtime.measure.streaming import BINS, RATIO, Streaming

LATENCIES = st.lists(st.floats(0.01, 1e8), min_size=1, max_size=200)


@given(LATENCIES, st.floats(0.001, 0.999))
def test_ranks_are_at_most_one_percent_too_high(values: list[float], q: float) -> None:
    seen = Streaming()
    seen.add(np.array(values))
    ordered = np.sort(values)
    for rank in range(1, len(values) + 1):
        exact = ordered[rank - 1]
        assert exact * (1 - 1e-9) <= seen.at_rank(rank) <= exact * RATIO * (1 + 1e-9)
    found = seen.percentile(q)
    assert found is None or found >= percentile(ordered, q) * (1 - 1e-9)
    assert seen.total == len(values) and seen.slowest_us == max(values) and seen.fastest_us == min(values)


@given(st.lists(LATENCIES, min_size=1, max_size=5))
def test_parts_make_the_same_whole(parts: list[list[float]]) -> None:
    whole, merged = Streaming(), Streaming()
    for part in parts:
        one = Streaming()
        one.add(np.array(part))
        merged.merge(one)
    whole.add(np.concatenate([np.array(part) for part in parts]))
    np.testing.assert_array_equal(whole.counts, merged.counts)
    assert (whole.slowest_us, whole.fastest_us) == (merged.slowest_us, merged.fastest_us)


@given(LATENCIES)
def test_a_table_holds_every_sample_in_ascending_bins(values: list[float]) -> None:
    seen = Streaming()
    seen.add(np.array(values))
    table = seen.table()
    edges, counts = table["edges_us"], table["counts"]
    assert sum(counts) == len(values) and len(edges) == len(counts) + 1 <= 61
    assert all(b > a for a, b in pairwise(edges))
    assert edges[0] <= min(values) * (1 + 1e-9) and max(values) <= edges[-1]


def test_figures_follow_the_same_rule_as_exact_ones() -> None:
    values = np.random.default_rng(0).lognormal(4, 0.5, 6_000)
    seen = Streaming()
    for part in np.array_split(values, 7):
        seen.add(part)
    exact, streamed = percentile_figures("x", values, source="measured", device="d"), seen.figures("x", "d", "")
    for key, figure in exact.items():
        assert figure.value <= streamed[key].value <= figure.value * RATIO
    few = Streaming()
    few.add(values[:500])
    figures = few.figures("x", "d", "")
    assert figures["x_p999_us"].value is None and "4,603" in figures["x_p999_us"].note
    empty = Streaming().figures("x", "d", "")
    assert empty["x_worst_us"].value is None and len(Streaming().counts) == BINS
