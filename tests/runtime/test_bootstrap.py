"""Law: the bootstrap interval covers about as often as it says, pairs stay pairs, and bad samples get no interval."""

import numpy as np
import pytest

from pilotfish.runtime.gate import checked_gate, compare, passes
from pilotfish.runtime.statistics import bootstrap, difference, ratio


@pytest.mark.parametrize("skewed", [False, True])
def test_coverage_of_the_mean(skewed: bool) -> None:
    generator = np.random.default_rng(3)
    hits = 0
    for trial in range(300):
        sample = generator.exponential(size=25) if skewed else generator.normal(1.0, 1.0, size=25)
        interval = bootstrap(sample, resamples=1000, seed=trial)
        hits += interval.low <= 1.0 <= interval.high
    assert 0.88 <= hits / 300 <= 0.98


def test_pairing_removes_what_both_share() -> None:
    generator = np.random.default_rng(0)
    shared = generator.normal(1000, 300, size=20)
    pairs = np.stack([shared - 5 + generator.normal(0, 1, 20), shared], axis=1)
    paired = bootstrap(pairs, difference)
    assert -6.5 < paired.low < -5 < paired.high + 1 and paired.high - paired.low < 2
    alone = bootstrap(pairs[:, 0])
    assert alone.high - alone.low > 100


def test_same_returns_same_interval_and_chunks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    data = np.random.default_rng(0).normal(size=(40, 2)) + 10
    first = bootstrap(data, ratio)
    assert first == bootstrap(data, ratio)
    monkeypatch.setattr("pilotfish.runtime.statistics._CHUNK", 40 * 999)
    assert bootstrap(data, ratio) == first


def test_one_episode_or_equal_episodes() -> None:
    assert bootstrap(np.array([3.0])).low is None
    equal = bootstrap(np.full(10, 500.0))
    assert (equal.value, equal.low, equal.high) == (500.0, 500.0, 500.0)
    with pytest.raises(ValueError, match="finite"):
        bootstrap(np.array([1.0, np.nan]))


def test_gate_of_positive_returns_is_the_retained_share() -> None:
    reference = np.array([990.0, 1000, 1010, 1000, 1005, 995])
    for share, gate, verdict in (
        (0.98, 0.97, True),
        (0.96, 0.97, False),
        (0.97, 0.97, True),
        (1.2, 1.0, True),
        (0.1, None, True),
    ):
        comparison = compare(share * reference, reference)
        assert comparison.retained is not None and abs(comparison.retained.value - share) < 1e-12
        assert passes(comparison, gate) is verdict


def test_gate_of_costs_limits_their_growth() -> None:
    reference = np.array([-4.0, -4.2, -3.8, -4.1, -3.9, -4.0])
    better, slightly, worse = (compare(factor * reference, reference) for factor in (0.9, 1.02, 1.05))
    assert better.retained is None and "negative" in better.no_ratio
    assert [passes(c, 0.97) for c in (better, slightly, worse)] == [True, True, False]


def test_gate_around_zero_measures_by_the_spread() -> None:
    reference = np.array([-100.0, 100.0, -50.0, 60.0, -10.0, 0.0])
    comparison = compare(reference - 1.0, reference)
    assert comparison.retained is None and comparison.scale > 50
    assert passes(comparison, 0.97)
    assert not passes(compare(reference - 10.0, reference), 0.97)


def test_a_zero_reference_gives_no_ratio() -> None:
    comparison = compare(np.zeros(5), np.zeros(5))
    assert comparison.retained is None and passes(comparison, 0.97)


def test_gate_must_be_a_share() -> None:
    from pilotfish.errors import BadInput

    with pytest.raises(BadInput, match=r"between 0 and 1.*97"):
        checked_gate(97)
