"""Sparsity schedules and the layers' shares: bounds, ends, monotony, exact sums."""

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotfish.train.sparse.distribution import densities, kept_by_layer, kept_in_all
from pilotfish.train.sparse.schedule import FALLING, SHAPES, Schedule

shares = st.floats(0, 1)
shapes = st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=5)
scopes = st.sampled_from(["uniform", "erdos-renyi"])


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_starts_at_nothing_and_ends_at_all(name: str) -> None:
    assert SHAPES[name](0.0) == 0.0
    assert SHAPES[name](1.0) == 1.0


@given(st.sampled_from(sorted(SHAPES)), shares)
def test_a_shape_stays_within_its_ends(name: str, u: float) -> None:
    assert 0.0 <= SHAPES[name](u) <= 1.0


@given(st.sampled_from(sorted(set(SHAPES) - set(FALLING))), shares, shares)
def test_a_shape_that_is_not_said_to_fall_never_does(name: str, a: float, b: float) -> None:
    early, late = sorted((a, b))
    assert SHAPES[name](early) <= SHAPES[name](late)


@pytest.mark.parametrize("name", FALLING)
def test_a_shape_that_is_said_to_fall_does(name: str) -> None:
    values = [SHAPES[name](i / 1000) for i in range(1001)]
    falls = sum(a <= b > c for a, b, c in zip(values, values[1:], values[2:], strict=False))
    assert falls == 3


@given(st.sampled_from(sorted(SHAPES)), shares, shares)
def test_a_schedule_is_dense_before_and_exactly_final_after(name: str, final: float, progress: float) -> None:
    schedule = Schedule(final, name, begin=0.3, end=0.7)  # type: ignore[arg-type]
    sparsity = schedule.at(progress)
    assert 0 <= sparsity <= final
    if progress <= 0.3:
        assert sparsity == 0
    if progress >= 0.7:
        assert sparsity == final


def test_the_cubic_schedule_is_zhu_and_guptas() -> None:
    # s_t = s_f + (s_i - s_f) (1 - (t - t_0) / (n dt))^3, their equation 1, halfway.
    assert Schedule(0.9, "cubic", 0.2, 0.8).at(0.5) == pytest.approx(0.9 - 0.9 * 0.5**3)
    assert Schedule(0.9, "cubic", 0.2, 0.8, initial=0.5).at(0.5) == pytest.approx(0.9 + (0.5 - 0.9) * 0.5**3)


def test_changes_are_due_every_so_many_updates_and_not_before_the_beginning() -> None:
    schedule = Schedule(0.5, begin=0.2, end=0.8, every=10)
    assert [n for n in range(1, 41) if schedule.due(n, n / 40)] == [10, 20, 30, 40]
    assert not schedule.due(10, 0.19)


@pytest.mark.parametrize("wrong", [{"begin": 0.8, "end": 0.8}, {"end": 1.1}, {"every": 0}, {"initial": 0.95}])
def test_a_schedule_that_cannot_be_is_refused(wrong: dict) -> None:
    with pytest.raises(ValueError, match="a schedule"):
        Schedule(0.9, **wrong)


@given(shapes, shares, scopes)
def test_the_layers_keep_exactly_what_is_asked_for_in_all(layers, sparsity, scope) -> None:
    sizes = [a * b for a, b in layers]
    kept = kept_in_all(sizes, sparsity)
    by_layer = kept_by_layer(layers, kept, scope)
    assert sum(by_layer) == kept == sum(sizes) - round(sparsity * sum(sizes))
    assert all(0 <= n <= size for n, size in zip(by_layer, sizes, strict=True))
    if kept >= len(layers):
        assert min(by_layer) >= 1


@given(shapes, shares, shares, scopes)
def test_a_higher_sparsity_never_gives_a_layer_more(layers, a, b, scope) -> None:
    low, high = sorted((a, b))
    sizes = [x * y for x, y in layers]
    more, fewer = (kept_by_layer(layers, kept_in_all(sizes, sparsity), scope) for sparsity in (low, high))
    assert all(n >= m for n, m in zip(more, fewer, strict=True))


def test_erdos_renyi_densities_are_in_proportion_and_full_layers_pass_the_rest_on() -> None:
    layers = [(17, 256), (256, 256), (256, 6)]
    kept = densities(layers, 0.95, "erdos-renyi")
    raw = [(a + b) / (a * b) for a, b in layers]
    assert kept[0] / kept[1] == pytest.approx(raw[0] / raw[1], rel=0.01)
    assert kept[2] / kept[1] == pytest.approx(raw[2] / raw[1], rel=0.01)
    assert densities(layers, 0.9, "erdos-renyi")[2] == 1.0
    assert densities(layers, 0.9, "uniform") == pytest.approx([0.1, 0.1, 0.1], abs=1e-3)


def test_more_than_there_is_cannot_be_kept() -> None:
    with pytest.raises(ValueError, match="0 to 6"):
        kept_by_layer([(2, 3)], 7, "uniform")


def test_schedules_and_shares_need_no_torch() -> None:
    code = "import sys, pilotfish.train.sparse.schedule, pilotfish.train.sparse.distribution; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
