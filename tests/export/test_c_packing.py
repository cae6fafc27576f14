"""Law: no packing is shorter than an exact one, none is shorter than what is live at once, and no two live buffers overlap."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from pilotfish.export.c.packing import ORDERS, Buffer, first_fit, live_together, pack


@st.composite
def buffers(draw, most, largest=64):
    made = []
    for index in range(draw(st.integers(1, most))):
        born = draw(st.integers(0, most))
        made.append(Buffer(f"b{index}", draw(st.integers(1, largest)), born, born + draw(st.integers(0, 5))))
    return made


def length(those, offsets):
    return max(offsets[b.name] + b.size for b in those)


def by_rules(those):
    return min(length(those, first_fit(sorted(those, key=order))) for order in ORDERS.values())


def overlapping(those, offsets):
    return [
        (a.name, b.name)
        for a in those
        for b in those
        if a is not b and a.meets(b) and offsets[a.name] < offsets[b.name] + b.size and offsets[b.name] < offsets[a.name] + a.size
    ]


def fits(those, limit):
    """Is there any packing of ``limit`` entries? Every address of every buffer is tried, in no clever order."""
    chosen = []

    def place(index):
        if index == len(those):
            return True
        buffer = those[index]
        for offset in range(limit - buffer.size + 1):
            free = all(not b.meets(buffer) or at + b.size <= offset or offset + buffer.size <= at for b, at in chosen)
            if free:
                chosen.append((buffer, offset))
                if place(index + 1):
                    return True
                chosen.pop()
        return False

    return place(0)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(those=buffers(6, largest=4))
def test_an_exact_packing_is_the_shortest_of_all(those):
    packing = pack(those)
    assert packing.exact and not overlapping(those, packing.offsets)
    assert packing.size == length(those, packing.offsets)
    assert fits(those, packing.size) and not fits(those, packing.size - 1)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(those=buffers(14))
def test_between_what_is_live_and_what_rules_reach(those):
    packing = pack(those)
    assert live_together(those) == packing.live <= packing.size <= by_rules(those)
    assert packing.size == length(those, packing.offsets) and not overlapping(those, packing.offsets)
    assert pack(those) == packing


@settings(max_examples=30, deadline=None, derandomize=True)
@given(those=buffers(30))
def test_a_search_that_gives_up_leaves_a_packing(those):
    for packing in (pack(those, most_nodes=3), pack(those, few=0)):
        assert packing.size == length(those, packing.offsets) and not overlapping(those, packing.offsets)
        assert packing.size <= by_rules(those) and (packing.size == packing.live) <= packing.exact


def test_the_search_finds_what_no_order_does():
    those = [Buffer("a", 5, 0, 1), Buffer("b", 2, 1, 3), Buffer("c", 4, 2, 4), Buffer("d", 2, 3, 4)]
    assert by_rules(those) == 9
    assert pack(those).size == pack(those).live == 8
    assert pack(those, few=3).size == 9 and not pack(those, few=3).exact


def test_what_is_live_at_once_is_not_always_enough():
    lives = {
        "a": (2, 0, 2),
        "b": (2, 1, 5),
        "c": (4, 2, 4),
        "d": (1, 3, 5),
        "e": (1, 4, 6),
        "f": (1, 5, 6),
        "g": (6, 6, 8),
        "h": (2, 7, 8),
    }
    those = [Buffer(name, *life) for name, life in lives.items()]
    packing = pack(those)
    assert (packing.live, packing.size, packing.exact) == (8, 9, True)
    assert not fits(those, 8)


def test_nothing_to_place():
    assert pack([]).size == 0 and pack([]).exact
