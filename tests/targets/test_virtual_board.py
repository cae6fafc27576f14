"""A policy on the virtual board: the same numbers as numpy, the same cost every time, faults in words."""

from dataclasses import replace

import numpy as np
import pytest

from pilotfish.errors import BadInput, PilotfishError, Unreachable, Unsupported
from pilotfish.targets import load_target
from pilotfish.targets.virtual import machine as machine_module
from pilotfish.targets.virtual.board import Sizes, VirtualBoard

INTEGRATOR = """
static const float weights[2][3] = {{0.5f, -0.25f, 2.0f}, {1.0f, 0.125f, -4.0f}};
void pilotfish_step(void) {
  for (int row = 0; row < 2; row++) {
    volatile float sum = pilotfish_state[row];
    for (int i = 0; i < 3; i++) sum += weights[row][i] * pilotfish_obs[i];
    pilotfish_state[row] = sum;
    pilotfish_action[row] = sum;
  }
}
"""
ARGMAX = """
void pilotfish_step(void) {
  int best = 0;
  for (int i = 1; i < OBS; i++) if (pilotfish_obs[i] > pilotfish_obs[best]) best = i;
  pilotfish_action[0] = best;
}
"""


def step_that(body, declarations=""):
    return f"{declarations}\nvoid pilotfish_step(void) {{ {body} }}\n"


@pytest.fixture(scope="module")
def target():
    return load_target("crazyflie")


def test_actions_and_state_follow_the_arithmetic(firmware, target):
    board = VirtualBoard(firmware(INTEGRATOR, interface=(3, 2, 2, 0)), target)
    assert board.sizes == Sizes(obs=3, state=2, action=2, discrete=False)
    weights = np.array([[0.5, -0.25, 2], [1, 0.125, -4]])
    expected = np.zeros(2)
    for obs in np.random.default_rng(0).integers(-8, 8, (20, 3)):
        expected = expected + weights @ obs  # small dyadic numbers: exact in float32
        action = board.step(obs)
        assert action.dtype == np.float32
        np.testing.assert_array_equal(action, expected)
        np.testing.assert_array_equal(board.state, expected)
    board.reset()
    np.testing.assert_array_equal(board.state, [0, 0])
    board.state = [1, 2]
    np.testing.assert_array_equal(board.step([0, 0, 0]), [1, 2])
    board.close()
    with pytest.raises(Unreachable, match="closed"):
        board.step([0, 0, 0])


def test_a_discrete_action_is_an_index(firmware, target):
    board = VirtualBoard(firmware(ARGMAX, interface=(5, 0, 1, 1)), target)
    action = board.step([0, 3, 9, -1, 2])
    assert action.dtype == np.int64 and action.tolist() == [2]
    assert board.state.shape == (0,)


def test_two_boards_profile_the_same_and_a_profile_disturbs_nothing(firmware, target):
    elf = firmware(INTEGRATOR, interface=(3, 2, 2, 0))
    observations = np.random.default_rng(1).standard_normal((7, 3))
    first, second = (VirtualBoard(elf, target).profile(observations) for _ in range(2))
    for name in ("instructions", "cycles_low", "cycles_typical", "cycles_high", "memory_stall_cycles"):
        figures = getattr(first, name)
        np.testing.assert_array_equal(figures, getattr(second, name))
        assert figures.dtype == np.int64 and figures.shape == (7,) and (figures > 0).all()
    assert (first.cycles_low <= first.cycles_typical).all() and (first.cycles_typical <= first.cycles_high).all()
    low, typical, high = first.latency_us()
    np.testing.assert_allclose(typical, (first.cycles_typical + first.memory_stall_cycles) / 168, rtol=1e-12)
    assert (low <= typical).all() and (typical <= high).all()
    board = VirtualBoard(elf, target)
    before = board.step(observations[0])
    board.profile(observations)
    np.testing.assert_array_equal(board.step(observations[0]), before)  # the profile left a fresh episode behind


def test_sizes_are_those_of_the_file(firmware, target):
    empty, filled = (
        step_that(""),
        step_that("filler[0]++; pilotfish_action[0] = filler[1];", "static volatile int filler[25] = {1, 7};"),
    )
    small, large = (VirtualBoard(firmware(source), target) for source in (empty, filled))
    assert large.ram_static_bytes - small.ram_static_bytes == 100
    assert large.flash_bytes - small.flash_bytes >= 100  # .data has its initial values in flash
    assert large.step([0, 0]) == 7


def test_the_stack_is_measured_by_its_paint(firmware, target):
    source = "volatile char frame[{}]; for (int i = 0; i < {}; i++) frame[i] = 1; pilotfish_action[0] = frame[3];"
    depths = []
    for size in (200, 1200):
        board = VirtualBoard(firmware(step_that(source.format(size, size))), target)
        depths.append(board.profile([[0, 0]]).stack_bytes)
        assert size <= depths[-1] <= size + 64
    assert depths[1] - depths[0] == 1000


def test_without_a_cost_table_instructions_are_still_exact(firmware, target):
    elf = firmware(INTEGRATOR, interface=(3, 2, 2, 0))
    plain = VirtualBoard(elf, replace(target, cost=None)).profile(np.zeros((2, 3)))
    assert plain.cycles_typical is None and plain.memory_stall_cycles is None and plain.latency_us() is None
    assert (plain.instructions == VirtualBoard(elf, target).profile(np.zeros((2, 3))).instructions).all()


def test_wrong_shapes_are_refused_in_words(firmware, target):
    board = VirtualBoard(firmware(INTEGRATOR, interface=(3, 2, 2, 0)), target)
    for call in (
        lambda: board.step([1, 2]),
        lambda: board.step([[1, 2, 3]]),
        lambda: board.profile([1, 2, 3]),
        lambda: board.profile(np.zeros((0, 3))),
        lambda: setattr(board, "state", [1.0]),
    ):
        with pytest.raises(BadInput, match="shape"):
            call()


FAULTS = {
    "a write to flash": ("*(volatile int *)0x08000100 = 1;", "which is flash"),
    "a write to nowhere": ("*(volatile int *)0x40020000 = 1;", "pilotfish_step.* writes to 0x40020000, which is none"),
    "a read from nowhere": ("pilotfish_action[0] = *(volatile int *)0x50000000;", "reads from 0x50000000"),
    "code in RAM": ("((void (*)(void))(0x20000101))();", "a jump to 0x20000100"),
    "an instruction of a larger core": ('__asm__ volatile(".inst.w 0xfe810a00");', "instructions that a cortex-m4 has"),
    "a breakpoint": ('__asm__ volatile("bkpt 0");', "no exception"),
    "a stack too deep": ("pilotfish_action[0] = deep(100000);", "at most the 131,072 bytes of RAM"),
    "a stack into static data": ("pilotfish_action[0] = deep(1);", "ran into its static data"),
}
DEEP = {
    "a stack too deep": "__attribute__((noinline)) static int deep(int n)"
    " { volatile char a[400]; a[0] = n; return n ? deep(n - 1) + a[0] : 0; }",
    "a stack into static data": "static volatile char big[125000]; __attribute__((noinline)) static int deep(int n)"
    " { volatile char a[7000]; for (int i = 0; i < 7000; i++) a[i] = n; return a[5] + big[124999]; }",
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_told_in_words_and_a_reset_restarts_the_board(name, firmware, target):
    body, message = FAULTS[name]
    source = step_that(f"if (pilotfish_obs[0] > 0) {{ {body} }} else pilotfish_action[0] = 7;", DEEP.get(name, ""))
    board = VirtualBoard(firmware(source), target)
    assert board.step([0, 0]) == 7
    with pytest.raises(BadInput, match=message) as caught:
        board.step([1, 0])
    assert "\n" not in str(caught.value)
    with pytest.raises(Unreachable, match="crashed"):
        board.step([0, 0])
    board.reset()
    assert board.step([0, 0]) == 7


def test_a_program_that_never_returns_is_stopped(firmware, target, monkeypatch):
    monkeypatch.setattr(machine_module, "MAX_INSTRUCTIONS", 20_000)
    board = VirtualBoard(firmware(step_that("for (;;) pilotfish_action[0] += 1;")), target)
    with pytest.raises(Unreachable, match="20,000 instructions from pilotfish_step"):
        board.step([0, 0])


def test_code_for_a_larger_core_is_refused_by_the_smaller_one(firmware, target):
    elf = firmware(INTEGRATOR, interface=(3, 2, 2, 0))
    small = replace(target, cpu=replace(target.cpu, core="cortex-m0plus"), cost=None)
    with pytest.raises(PilotfishError, match="cortex-m0plus"):
        VirtualBoard(elf, small).step([0, 0, 0])


def test_a_board_too_small_says_by_how_much(firmware, target):
    elf = firmware(step_that("big[0]++;", "static volatile char big[100000];"))
    with pytest.raises(BadInput, match="at most 65,536 bytes of RAM"):
        VirtualBoard(elf, replace(target, memory=replace(target.memory, ram_bytes=65536)))
    with pytest.raises(BadInput, match="multiples of 1024"):
        VirtualBoard(elf, replace(target, memory=replace(target.memory, ram_bytes=131000)))


def test_sizes_that_disagree_with_the_variables_are_refused(firmware, target):
    elf = firmware(step_that(""))
    data = bytearray(elf.read_bytes())
    place = data.find(np.array([2, 0, 1, 0], "<i4").tobytes())
    data[place : place + 4] = b"\3\0\0\0"
    changed = elf.with_name("changed")
    changed.write_bytes(data)
    with pytest.raises(BadInput, match="pilotfish_obs of 12 bytes, found 8"):
        VirtualBoard(changed, target)


def test_an_unknown_core_names_the_known_ones(firmware, target):
    with pytest.raises(Unsupported, match="Did you mean 'cortex-m4'"):
        VirtualBoard(firmware(step_that("")), replace(target, cpu=replace(target.cpu, core="cortex-m4f")))
