"""Who goes no further: the law of successive halving as the search applies it."""

from hypothesis import given
from hypothesis import strategies as st

from pilotfish.compress.search.halving import HOPE, PATIENCE, Peer, hopeless

SHARES = st.floats(-0.5, 1.2)
PEERS = st.lists(
    st.builds(Peer, st.sampled_from("abcd"), st.tuples(SHARES, SHARES, SHARES, SHARES), st.floats(1, 100)), max_size=12
)


def test_two_others_that_are_better_and_no_dearer_stop_it():
    one, other = Peer("a", (0.5, 0.9, 0.9, 0.9), 10.0), Peer("b", (0.6, 0.9, 0.9, 0.9), 10.0)
    assert not hopeless([one], 0.8, 0, 0.4, 20.0)
    assert "2 others" in hopeless([one, other], 0.8, 0, 0.4, 20.0)
    assert not hopeless([one, other], 0.8, 0, 0.55, 20.0) and not hopeless([one, other], 0.8, 0, 0.4, 5.0)


def test_candidates_of_one_student_are_one_witness_as_long_as_students_are_compared():
    twins = [Peer("a", (0.5, 0.9, 0.9, 0.9), 10.0)] * 3
    assert not hopeless(twins, 0.8, 0, 0.4, 20.0) and not hopeless(twins, 0.8, 1, 0.8, 20.0)
    assert "3 others" in hopeless(twins, 0.8, 2, 0.8, 20.0)


def test_others_that_came_to_nothing_stop_nobody_after_the_first_lesson():
    lost = [Peer(name, (0.9, 0.95, 0.1, 0.1), 10.0) for name in "ab"]
    assert hopeless(lost, 0.0, 0, 0.5, 20.0) and not hopeless(lost, 0.0, 1, 0.5, 20.0)


def test_a_taught_student_must_keep_some_of_what_counts():
    assert not hopeless([], 0.8, 0, 0.0, 1.0)
    assert "it kept" in hopeless([], 0.8, 1, HOPE * 0.8 - 0.01, 1.0) and not hopeless([], 0.8, 1, HOPE * 0.8 + 0.01, 1.0)


@given(PEERS, st.integers(0, 2), SHARES, st.floats(1, 100), st.floats(0, 0.5), st.floats(0, 50))
def test_who_goes_on_goes_on_if_it_kept_more_or_cost_less(seen, rung, kept, cost, more, cheaper):
    if not hopeless(seen, 0.8, rung, kept, cost):
        assert not hopeless(seen, 0.8, rung, kept + more, max(0.1, cost - cheaper))
    if len(seen) < PATIENCE and rung == 0:
        assert not hopeless(seen, 0.8, rung, kept, cost)
