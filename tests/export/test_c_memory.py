"""Law: no two values that are needed at the same time share memory, except a view and what it is a view of."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilotfish.export.c.memory import BYTES, Plan, Step, last_uses, plan
from pilotfish.export.c.ram import Ram
from pilotfish.policy.cells import GRU


@st.composite
def programs(draw):
    """Random straight-line programs of views, in-place and ordinary operations."""
    inputs = {"obs": draw(st.integers(1, 40)), "state_in_h": draw(st.integers(1, 9))}
    sizes, steps = dict(inputs), []
    for index in range(draw(st.integers(1, 25))):
        kind = draw(st.sampled_from(["new", "in_place", "view", "split"]))
        source = draw(st.sampled_from(sorted(sizes)))
        if kind == "new":
            reads = tuple(draw(st.lists(st.sampled_from(sorted(sizes)), min_size=1, max_size=3)))
            sizes[f"v{index}"] = draw(st.integers(1, 40))
            steps.append(Step(reads, (f"v{index}",), {}))
        elif kind == "in_place":
            same = sorted(n for n in sizes if sizes[n] in (1, sizes[source]))
            reads = (source, draw(st.sampled_from(same)))
            sizes[f"v{index}"] = sizes[source]
            steps.append(Step(reads, (f"v{index}",), {}, in_place=True))
        elif kind == "view":
            start = draw(st.integers(0, sizes[source] - 1))
            sizes[f"v{index}"] = draw(st.integers(1, sizes[source] - start))
            steps.append(Step((source,), (), {f"v{index}": (source, start)}))
        else:
            cut = draw(st.integers(0, sizes[source]))
            parts = {f"v{index}_{k}": (source, start) for k, start in enumerate((0, cut)) if (cut, sizes[source] - cut)[k]}
            sizes |= {name: (cut if start == 0 and cut else sizes[source] - start) for name, (_, start) in parts.items()}
            steps.append(Step((source,), (), parts))
    outputs = draw(st.lists(st.sampled_from(sorted(set(sizes) - set(inputs))), min_size=1, max_size=3, unique=True))
    return inputs, steps, sizes, outputs


class Simulator:
    """Runs a program twice: every value in memory of its own, and every value where the plan puts it."""

    def __init__(self, inputs, steps, sizes, outputs, memory):
        self.inputs, self.steps, self.sizes, self.outputs, self.memory = inputs, steps, sizes, outputs, memory

    def run(self, planned):
        arena = [None] * self.memory.arena_size
        values = {name: [(name, i) for i in range(size)] for name, size in self.inputs.items()}

        def load(name):
            span = self.memory.span(name) if planned else None
            return list(values[name]) if span is None else arena[span[0] : span[1]]

        for index, step in enumerate(self.steps):
            read = [load(name) for name in step.reads]
            for name, (source, start) in step.views.items():
                values[name] = load(source)[start : start + self.sizes[name]]
            for name in step.writes:
                # In place: entry i is written before entry i + 1 is read, as the printed loop does.
                span = self.memory.span(name)
                fresh = []
                for i in range(self.sizes[name]):
                    if step.in_place:
                        now = [load(n) for n in step.reads]
                        entry = (index, *(part[i if len(part) > 1 else 0] for part in now))
                    else:
                        entry = (index, i, *map(tuple, read))
                    fresh.append(entry)
                    if planned:
                        arena[span[0] + i] = entry
                values[name] = fresh
        return [load(name) for name in self.outputs]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(program=programs(), align=st.sampled_from([1, 16]))
def test_no_two_live_values_overlap(program, align):
    inputs, steps, sizes, outputs = program
    memory = plan(inputs, steps, sizes, outputs, align)
    last, born = last_uses(steps, outputs), {}
    for index, step in enumerate(steps):
        born |= dict.fromkeys([*step.writes, *step.views], index)
    for name in born:
        span = memory.span(name)
        assert span is None or (span[0] >= 0 and span[1] <= memory.arena_size)
        for other in born:
            a, b = memory.span(name), memory.span(other)
            if a is None or b is None or memory.places[name].base == memory.places[other].base:
                continue
            together = born[name] <= last[other] and born[other] <= last[name]
            assert not (together and a[0] < b[1] and b[0] < a[1]), (name, other)


@settings(max_examples=30, deadline=None, derandomize=True)
@given(program=programs(), align=st.sampled_from([4, 16, 64]), data=st.data())
def test_every_buffer_is_aligned_in_the_arena_of_its_kind(program, align, data):
    inputs, steps, sizes, outputs = program
    kinds = {name: data.draw(st.sampled_from(sorted(BYTES))) for step in steps for name in step.writes}
    memory = plan(inputs, steps, sizes, outputs, align, kinds)
    for name, offset in memory.offsets.items():
        kind = kinds.get(name, "float")
        assert offset * BYTES[kind] % align == 0 and offset + sizes[name] <= memory.arenas[kind]
        assert all(kinds[value] == kind for value, place in memory.places.items() if place.base == name and value in kinds)
    ram = Ram.of(memory, 0)
    assert ram.live_bytes <= ram.arena_bytes
    if ram.exact:
        assert "no packing is shorter" in str(ram) and f"{ram.arena_bytes:,} of scratch" in str(ram)


@settings(max_examples=50, deadline=None, derandomize=True)
@given(program=programs())
def test_planned_memory_computes_what_separate_memory_computes(program):
    inputs, steps, sizes, outputs = program
    simulator = Simulator(*program, plan(inputs, steps, sizes, outputs))
    assert simulator.run(planned=True) == simulator.run(planned=False)


def test_a_chain_needs_two_buffers_and_activations_none():
    steps, sizes = [], {"obs": 10}
    previous = "obs"
    for index in range(6):
        steps.append(Step((previous,), (f"d{index}",), {}))
        steps.append(Step((f"d{index}",), (f"a{index}",), {}, in_place=True))
        sizes |= {f"d{index}": 10, f"a{index}": 10}
        previous = f"a{index}"
    assert plan({"obs": 10}, steps, sizes, [previous]).arena_size == 20


def test_inputs_are_never_written():
    memory = plan({"obs": 8}, [Step(("obs",), ("y",), {}, in_place=True)], {"obs": 8, "y": 8}, ["y"])
    assert memory.places["y"].base == "y"


def test_a_new_state_is_handed_over_as_soon_as_nobody_reads_the_old_one(make_policy):
    """Its place serves the second cell: two gates' products of 3 x 64, and no third state beside them."""
    pytest.importorskip("onnx")
    from pilotfish.export.c.machine import CORTEX_M4F
    from pilotfish.export.c.operators import OPERATORS, READ_ONLY
    from pilotfish.export.c.reader import read
    from pilotfish.export.c.source import Header, generate
    from pilotfish.export.onnx import to_onnx

    policy = make_policy([GRU("a", 48, 64), GRU("b", 64, 64)], 48, 64, 0)
    source = generate(read(to_onnx(policy), {*OPERATORS, *READ_ONLY}), CORTEX_M4F, Header(""))
    assert source.arena_bytes == source.ram.live_bytes == 4 * 64 * 6
    assert source.ram.static_bytes == 4 * 64 * (6 + 2)
    text = source.files["policy.c"]
    copies = [text.index(f"{{ /* state_out_{name}_h */") for name in "ab"]
    assert copies[0] < text.rindex("Dense ->") < copies[1]
    assert f"RAM: {source.ram}." in " ".join(source.files["policy.h"].split())


def test_ram_is_stated_in_bytes():
    memory: Plan = plan({"obs": 3}, [Step(("obs",), ("y",), {})], {"obs": 3, "y": 300}, ["y"])
    assert str(Ram.of(memory, 25)) == (
        "1,300 bytes static: 1,200 of scratch (float 1,200; 1,200 live at once, no packing is shorter) and 100 of state"
    )
    nothing = Ram.of(plan({"obs": 3}, [], {"obs": 3}, []), 0)
    assert (nothing.arena_bytes, nothing.live_bytes, nothing.static_bytes) == (4, 0, 4)
