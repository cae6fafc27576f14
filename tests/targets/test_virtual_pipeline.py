"""Cores that pair instructions: measured pairs and latencies come out as measured, and the laws of any cycle model hold."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilotfish.targets.virtual.cycles import TABLES, block_cost
from pilotfish.targets.virtual.decode import Decoder
from pilotfish.targets.virtual.image import read_image
from pilotfish.targets.virtual.machine import Machine
from pilotfish.targets.virtual.profiler import Profiler

START = 0x08000000
# Encodings by the Armv7-M ARM (and the emulator's own decoder, which the first test asks).
CODE = {
    "add r0, r1": "0844",
    "adds r4, r4, #1": "641c",
    "subs r7, #1": "013f",
    "sxtb16 r6, r5": "2ffa85f6",
    "sxtb16 r5, r5, ror #8": "2ffa95f5",
    "smlad r3, lr, r6, r3": "2efb0633",
    "smlad r3, r3, r6, r8": "23fb0683",
    "ldr r5, [r4]": "2568",
    "ldr r1, [r4, #0x40]": "216c",
    "ldr r2, [r5]": "2a68",
    "str r5, [r0]": "0560",
    "mul r2, r5, r5": "05fb05f2",
    "umull r0, r1, r2, r3": "a2fb0301",
    "mla r0, r1, r2, r3": "01fb0230",
    "vadd.f32 s0, s1, s2": "70ee810a",
    "vfma.f32 s0, s1, s2": "a0ee810a",
    "push {r4, r5, r6, lr}": "70b5",
    "nop": "00bf",
}


def decode(*names, at=START):
    return Decoder().block(bytes.fromhex("".join(CODE[name] for name in names)), at)


def cycles(core, *names, taken=False):
    return tuple(block_cost(TABLES[core], decode(*names), (), taken))


@pytest.fixture(autouse=True)
def _needs_capstone():
    pytest.importorskip("capstone")


def test_the_bytes_are_what_their_names_say():
    for name in CODE:
        assert decode(name)[0].text.replace(".w", "").split()[0].rstrip("s") == name.split()[0].rstrip("s"), name


# Measured on an STM32H743 by jnk0le/random, "pipeline cycle test": (code, typical cycles).
M7 = [
    (("add r0, r1", "adds r4, r4, #1"), 1),  # two independent additions pair
    (("adds r4, r4, #1", "ldr r5, [r4]"), 2),  # an address is needed one cycle later than it is added
    (("ldr r5, [r4]", "ldr r1, [r4, #0x40]"), 1),  # two loads pair
    (("ldr r5, [r4]", "str r5, [r0]"), 1),  # a store takes what was loaded in the same cycle
    (("ldr r5, [r4]", "mul r2, r5, r5"), 3),  # a multiplication cannot use a load's result from the previous cycle
    (("ldr r5, [r4]", "ldr r2, [r5]"), 3),  # pointer chasing
    (("smlad r3, lr, r6, r3", "smlad r3, lr, r6, r3"), 2),  # accumulators chain every cycle
    (("smlad r3, lr, r6, r3", "smlad r3, r3, r6, r8"), 3),  # as a factor, the result takes two
    (("sxtb16 r6, r5", "sxtb16 r5, r5, ror #8"), 2),  # one SIMD unit
    (("push {r4, r5, r6, lr}",), 2),  # ceil(N / 2)
]
# Measured on an RP2350 by the same, cortex_m33.md.
M33 = [
    (("add r0, r1", "adds r4, r4, #1"), 2),  # arithmetic does not pair
    (("nop", "add r0, r1"), 1),  # a NOP does
    (("ldr r5, [r4]", "add r0, r1"), 2),
    (("ldr r5, [r4]", "mul r2, r5, r5"), 3),  # load to use: 2
    (("ldr r5, [r4]", "str r5, [r0]"), 2),  # load to store: 1
    (("smlad r3, lr, r6, r3", "smlad r3, lr, r6, r3"), 2),  # accumulators chain
    (("smlad r3, lr, r6, r3", "smlad r3, r3, r6, r8"), 3),
    (("push {r4, r5, r6, lr}",), 4),  # exactly N
    (("vfma.f32 s0, s1, s2", "vadd.f32 s0, s1, s2"), 4),  # no floats for two cycles after a multiply-accumulate
]


@pytest.mark.parametrize("names, typical", M7)
def test_cortex_m7_pairs_and_waits_as_measured(names, typical):
    assert cycles("cortex-m7", *names)[1] == typical


@pytest.mark.parametrize("names, typical", M33)
def test_cortex_m33_pairs_and_waits_as_measured(names, typical):
    assert cycles("cortex-m33", *names)[1] == typical


def test_cortex_m3_multiplies_longer_than_the_m4():
    for name, m3 in (("mla r0, r1, r2, r3", (2, 2, 2)), ("umull r0, r1, r2, r3", (3, 4, 5))):
        assert cycles("cortex-m3", name) == m3
        assert cycles("cortex-m4", name) == (1, 1, 1)
    same = ("ldr r5, [r4]", "ldr r1, [r4, #0x40]", "str r5, [r0]", "push {r4, r5, r6, lr}")
    assert cycles("cortex-m3", *same) == cycles("cortex-m4", *same)


@pytest.mark.parametrize("core", sorted(TABLES))
@given(names=st.lists(st.sampled_from(sorted(CODE)), min_size=1, max_size=12), cut=st.integers(0, 12), taken=st.booleans())
def test_the_band_is_ordered_and_cutting_a_block_in_two_changes_nothing(core, names, cut, taken):
    pytest.importorskip("capstone")
    block = decode(*names)
    whole = block_cost(TABLES[core], block, (), taken)
    assert 0 <= whole.low <= whole.typical <= whole.high
    first, second = block[: cut % len(block)], block[cut % len(block) :]
    if first and len(first) <= 8:  # what a block is simulated behind
        parts = block_cost(TABLES[core], first, (), False).plus(block_cost(TABLES[core], second, first, taken))
        assert parts.typical == whole.typical
    assert whole.typical * 2 >= len([i for i in block if i.name != "nop"])  # two a cycle at most


@pytest.mark.parametrize("core", sorted(TABLES))
def test_a_taken_branch_never_costs_less(core):
    names = ("add r0, r1", "subs r7, #1")
    assert all(a >= b for a, b in zip(cycles(core, *names, taken=True), cycles(core, *names), strict=True))


def test_wide_code_that_straddles_words_stalls_the_fetch():
    # compendium.i-0.nl: three unaligned 32-bit instructions in a row cost one cycle; so does a branch to one.
    stalls = TABLES["cortex-m4"].fetch_stalls
    wide = ("smlad r3, lr, r6, r3",) * 3
    assert stalls(decode(*wide), True) == 0
    assert stalls(decode(*wide, at=START + 2), False) == 1
    assert stalls(decode(*wide, at=START + 2), True) == 2
    assert stalls(decode(*wide[:2], at=START + 2), False) == 0
    assert stalls(decode("add r0, r1", *wide), False) == 1
    assert TABLES["cortex-m0plus"].fetch_stalls is None


BODY = "ldr.w r1, [sp]\\n smlad r3, r1, r1, r3\\n smlad r3, r1, r1, r3\\n subs r0, #1\\n bne 1b\\n bx lr\\n"
LOOP = f'__attribute__((naked, used, aligned(8))) void %s(void) {{ __asm__ volatile("movs r0, #10\\n %s 1: {BODY}"); }}\n'
LOOPS = LOOP % ("even", "nop\\n") + LOOP % ("odd", "") + "void pilotfish_step(void) {}\n"


def test_the_profiler_counts_fetch_stalls_per_entry(firmware):
    from pilotfish.targets import load_target
    from pilotfish.targets.profile import Cost

    target = load_target("crazyflie")
    machine = Machine(read_image(firmware(LOOPS), target.memory), target)
    try:
        with Profiler(machine, TABLES["cortex-m4"], Cost(table="cortex-m4")) as profiler:
            even, odd = (profiler.call(machine.image.symbol(name).address) for name in ("even", "odd"))
    finally:
        machine.close()
    assert even.stall_cycles == 0
    # Ten runs of three straddling instructions, nine of them entered by a branch.
    assert odd.stall_cycles == 10 + 9
    assert odd.cycles.typical == even.cycles.typical - 1  # it lacks the NOP
