"""The flash line model: least-recently-used lines, sequential prefetch."""

from hypothesis import given
from hypothesis import strategies as st

from pilotfish.targets.profile import Cost
from pilotfish.targets.virtual.flash import LineCache, block_stalls, code_stalls, data_stalls


def cost(**settings):
    return Cost(table="cortex-m4", **({"flash_wait_states": 5, "flash_line_bytes": 16} | settings))


@given(st.lists(st.integers(0, 12), max_size=200), st.integers(0, 6))
def test_the_line_cache_is_least_recently_used(lines, size):
    cache, recent = LineCache(size), []
    for line in lines:
        assert cache.miss(line) == (line not in recent)
        recent = [*(r for r in recent if r != line), line][-size:] if size else []


@given(st.lists(st.integers(0, 1000), max_size=100))
def test_more_lines_never_stall_more_and_none_stall_on_every_read(reads):
    stalls = [data_stalls(reads, cost(data_lines=n)) for n in (0, 1, 2, 8, 1000)]
    assert stalls == sorted(stalls, reverse=True)
    assert stalls[0] == 5 * len(reads)
    assert stalls[-1] == 5 * len({r // 16 for r in reads})


def test_a_line_that_follows_was_prefetched_while_its_predecessor_executed():
    visit = ((10, 3), (11, 9), (12, 1))  # line, cycles spent in it
    assert code_stalls([visit], cost(instruction_lines=64)) == 5 + (5 - 3) + 0
    assert code_stalls([visit, visit], cost(instruction_lines=64)) == 7  # held the second time
    assert code_stalls([visit, visit], cost(instruction_lines=0)) == 7 + 7
    assert code_stalls([((10, 1),), ((12, 1),)], cost(instruction_lines=4)) == 10  # a jump waits in full
    assert code_stalls([visit], cost(flash_wait_states=0)) == 0


def test_lines_need_not_be_a_power_of_two():
    assert data_stalls([0, 11, 12, 23], cost(data_lines=8, flash_line_bytes=12)) == 10


visits = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 7)), max_size=4).map(tuple)


@given(st.lists(visits, min_size=1, max_size=6), st.lists(st.integers(0, 5), max_size=60), st.integers(0, 12), st.integers(0, 9))
def test_few_blocks_visited_often_stall_as_they_do_one_by_one(blocks, order, held, wait):
    order = [k % len(blocks) for k in order]
    settings = cost(instruction_lines=held, flash_wait_states=wait)
    assert block_stalls(blocks, order, settings) == code_stalls([blocks[k] for k in order], settings)


@given(st.lists(st.integers(0, 300), max_size=100), st.integers(0, 24))
def test_reads_of_lines_that_are_never_replaced_stall_once_each(reads, held):
    cache = LineCache(held)
    assert data_stalls(reads, cost(data_lines=held)) == 5 * sum(cache.miss(address // 16) for address in reads)
