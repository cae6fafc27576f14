"""Instruction counts are exact and cycles are what the manuals' tables add up to, by hand."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotfish.errors import Unsupported
from pilotfish.targets import load_target
from pilotfish.targets.profile import Cost
from pilotfish.targets.virtual.cycles import TABLES, Cycles, find_table
from pilotfish.targets.virtual.image import read_image
from pilotfish.targets.virtual.machine import Machine
from pilotfish.targets.virtual.profiler import Profiler

P = {"low": 1, "typical": 2, "high": 3}  # pipeline refill of the Cortex-M4


def routine(name, *lines):
    body = "".join(f'"  {line}\\n"\n' for line in lines)
    return f"__attribute__((naked, used, aligned(8))) void {name}(void) {{ __asm__ volatile(\n{body}); }}\n"


ROUTINES = (
    routine("r_loop", "movs r0, #10", "1: subs r0, #1", "bne 1b", "bx lr")
    + routine("r_calls", "push {r4, lr}", "bl r_leaf", "pop {r4, pc}")
    + routine("r_leaf", "nop", "bx lr")
    + routine("r_skip", "movs r0, #1", "cmp r0, #0", "beq 1f", "adds r0, #1", "1: bx lr")
    + "void pilotfish_step(void) {}\n"
)
M4_ROUTINES = (
    routine("r_it", "movs r0, #0", "cmp r0, #0", "ite ne", "movne r1, #1", "moveq r1, #2", "bx lr")
    + routine("r_it_wide", "mov.w r0, #0", "cmp.w r0, #0", "it eq", "moveq r1, #2", "bx lr")
    + routine("r_it_return", "movs r0, #0", "cmp r0, #0", "it eq", "bxeq lr", "b .")
    + routine(
        "r_float",
        *("vmov s0, r0", "vadd.f32 s1, s0, s0", "vmul.f32 s2, s1, s1", "vfma.f32 s2, s0, s0", "vdiv.f32 s3, s2, s0"),
        *("vmov r0, s3", "bx lr"),
    )
    + routine(
        "r_memory",
        *("push {r4, lr}", "ldr r0, [sp]", "ldr r1, [sp, #4]", "str r0, [sp]", "add r2, sp, #0", "ldr r3, [r2]"),
        "pop {r4, pc}",
    )
    + routine("r_vector", "vpush {d8, d9}", "vldr s16, [sp]", "vldr s17, [sp, #4]", "vpop {d8, d9}", "bx lr")
)
M0_ROUTINES = routine("r_memory", "push {r4, lr}", "ldr r0, [sp]", "str r0, [sp]", "muls r0, r0", "nop", "pop {r4, pc}")
# name: instructions, then low, typical and high cycles, each added up from the tables by hand.
M4_BY_HAND = {
    "r_loop": (22, [1 + 10 * 2 + 1 + 10 * p for p in P.values()]),  # 9 branches back, and the return
    "r_calls": (5, [3 + 1 + 1 + 1 + 3 + 3 * p for p in P.values()]),
    "r_skip": (5, [5 + p for p in P.values()]),  # the branch is not taken
    "r_it": (6, [1 + 1 + 0 + 2 + 1 + 1, 1 + 1 + 0 + 2 + 1 + 2, 1 + 1 + 1 + 2 + 1 + 3]),  # IT folds onto a 16-bit CMP
    "r_it_wide": (5, [1 + 1 + 1 + 1 + 1 + p for p in P.values()]),  # … and not onto a 32-bit one
    "r_it_return": (4, [1 + 1 + 0 + 1 + 1, 1 + 1 + 0 + 1 + 2, 1 + 1 + 1 + 1 + 3]),
    # VMUL and VDIV and the last VMOV each wait for the result before them; VFMA's addend does not.
    "r_float": (7, [2 + 1 + 1 + 3 + 14 + 2 + 1 + 1, 2 + 1 + 2 + 3 + 15 + 3 + 1 + 2, 2 + 1 + 2 + 3 + 15 + 3 + 1 + 3]),
    # The second LDR is pipelined, STR takes one, the third LDR waits a cycle for its address.
    "r_memory": (7, [3 + 2 + 1 + 1 + 1 + 3 + 3 + p for p in P.values()]),
    "r_vector": (5, [5 + 2 + 1 + 5 + 1 + 1, 5 + 2 + 1 + 5 + 1 + 2, 5 + 2 + 2 + 5 + 1 + 3]),
}
M0_BY_HAND = {
    "r_loop": (22, 1 + 10 + 10 + 9 + 2),
    "r_calls": (5, 3 + 3 + 1 + 2 + 5),
    "r_skip": (5, 1 + 1 + 1 + 1 + 2),
    "r_memory": (6, 3 + 2 + 2 + 1 + 1 + 5),
}


@pytest.fixture(scope="module")
def machines(firmware):
    target = load_target("crazyflie")
    made = {}
    for core, source in (("cortex-m4", ROUTINES + M4_ROUTINES), ("cortex-m0plus", ROUTINES + M0_ROUTINES)):
        board = target.__class__(**{**vars(target), "cpu": target.cpu.__class__(isa="thumb", core=core)})
        made[core] = Machine(read_image(firmware(source, core), target.memory), board)
    yield made
    for machine in made.values():
        machine.close()


def profile(machine, core, name, cost=None):
    with Profiler(machine, TABLES[core], cost) as profiler:
        return profiler.call(machine.image.symbol(name).address)


@pytest.mark.parametrize("name", M4_BY_HAND)
def test_cortex_m4_routines_cost_what_the_tables_add_up_to(machines, name):
    instructions, cycles = M4_BY_HAND[name]
    found = profile(machines["cortex-m4"], "cortex-m4", name)
    assert (found.instructions, list(found.cycles)) == (instructions, cycles)


@pytest.mark.parametrize("name", M0_BY_HAND)
def test_cortex_m0plus_routines_cost_what_the_table_adds_up_to(machines, name):
    instructions, cycles = M0_BY_HAND[name]
    found = profile(machines["cortex-m0plus"], "cortex-m0plus", name)
    assert (found.instructions, list(found.cycles)) == (instructions, [cycles] * 3)


@pytest.mark.parametrize("core, name", [("cortex-m4", n) for n in ("r_loop", "r_calls", "r_skip", "r_float", "r_memory")])
def test_without_it_blocks_the_emulators_own_instruction_hook_counts_the_same(machines, core, name):
    import unicorn

    machine, executed = machines[core], []
    hook = machine.engine.hook_add(unicorn.UC_HOOK_CODE, lambda *a: executed.append(a[1]))
    machine.engine.ctl_flush_tb()
    machine.call(machine.image.symbol(name).address)
    machine.engine.hook_del(hook)
    machine.engine.ctl_flush_tb()
    assert len(executed) == profile(machine, core, name).instructions


def test_the_same_call_costs_the_same_twice_and_no_hook_stays_behind(machines):
    machine = machines["cortex-m4"]
    assert profile(machine, "cortex-m4", "r_float") == profile(machine, "cortex-m4", "r_float")
    with Profiler(machine, TABLES["cortex-m4"], None) as profiler:
        pass
    machine.call(machine.image.symbol("r_loop").address)
    assert profiler._trace == []


def test_flash_wait_states_are_reported_apart_from_the_cycles(machines):
    machine = machines["cortex-m4"]
    slow = Cost(table="cortex-m4", flash_wait_states=5, flash_line_bytes=16, instruction_lines=64, data_lines=8)
    loop = profile(machine, "cortex-m4", "r_loop", slow)
    assert loop.cycles == profile(machine, "cortex-m4", "r_loop").cycles
    assert loop.stall_cycles == 5  # eight bytes of code in one line, fetched once
    free = Cost(table="cortex-m4", flash_wait_states=0)
    assert profile(machine, "cortex-m4", "r_loop", free).stall_cycles == 0


def test_an_unknown_table_names_the_near_one():
    with pytest.raises(Unsupported, match="cortex-m4"):
        find_table("cortex-m4f")


@pytest.mark.parametrize("core", sorted(TABLES))
@given(
    band=st.lists(st.integers(1, 10**7), min_size=3, max_size=3).map(sorted),
    stalls=st.integers(0, 10**7),
)
def test_a_widened_band_holds_the_band_and_what_hardware_was_seen_to_take(core, band, stalls):
    table, model = TABLES[core], Cycles(*band)
    least, most = table.measured
    assert least <= 1 <= most
    wide = table.widened(model, stalls)
    assert wide.typical == model.typical and 1 <= wide.low <= model.low and model.high <= wide.high
    total = model.typical + stalls
    assert wide.high + stalls >= most * total - 1e-6 * total
    assert wide.low == 1 or wide.low + stalls <= least * total + 1e-6 * total
    exact = replace(table, measured=(1.0, 1.0))
    assert exact.widened(model, stalls) == model
