"""Each core executes what it has and refuses what it lacks; a policy runs on every instruction set."""

from dataclasses import replace

import numpy as np
import pytest

from pilotfish.errors import BadInput, PilotfishError, Unreachable
from pilotfish.targets import load_target
from pilotfish.targets.profile import Memory
from pilotfish.targets.virtual import machine as machine_module
from pilotfish.targets.virtual.board import VirtualBoard
from pilotfish.targets.virtual.cores import CORES
from pilotfish.targets.virtual.isa import ISAS

DOT = """
static const float weights[3] = {0.5f, -0.25f, 2.0f};
void pilotfish_step(void) {
  volatile float sum = pilotfish_state[0];
  for (int i = 0; i < 3; i++) sum += weights[i] * pilotfish_obs[i];
  pilotfish_state[0] = pilotfish_action[0] = sum;
}
"""


def board_of(elf, core):
    """The memory map of the tests' linker script, with any core."""
    target = load_target("crazyflie")
    memory = Memory(flash_bytes=1 << 20, ram_bytes=1 << 17)
    return VirtualBoard(elf, replace(target, cpu=replace(target.cpu, core=core), memory=memory, cost=None))


@pytest.mark.parametrize("core", ["cortex-m3", "cortex-m33", "cortex-m7", "rv32imc", "rv32imafc", "cortex-a53"])
def test_every_instruction_set_carries_state_and_is_profiled(core, firmware):
    board = board_of(firmware(DOT, core, (3, 1, 1, 0)), core)
    assert board.step([1, 2, 3]) == 6 and board.step([1, 0, 0]) == 6.5 and board.state == [6.5]
    first, second = (board.profile(np.ones((3, 3))) for _ in range(2))
    np.testing.assert_array_equal(first.instructions, second.instructions)
    assert (first.instructions > 10).all() and first.cycles_typical is None
    board.reset()
    assert board.step([0, 0, 0]) == 0


@pytest.mark.parametrize("core", ["rv32imc", "rv32imafc", "cortex-a53"])
def test_the_profiler_counts_what_the_emulators_instruction_hook_counts(core, firmware):
    import unicorn

    board = board_of(firmware(DOT, core, (3, 1, 1, 0)), core)
    counted = board.profile([[1, 2, 3]]).instructions[0]
    executed, engine = [], board._machine.engine
    engine.hook_add(unicorn.UC_HOOK_CODE, lambda *arguments: executed.append(arguments[1]))
    engine.ctl_flush_tb()
    board.step([1, 2, 3])
    assert len(executed) == counted


# (core of the board, core that the code is compiled for, the instruction)
REJECTED_BY_THE_MODEL = [
    ("cortex-m0plus", "cortex-m4", "smlad r0, r1, r2, r3"),
    ("cortex-m3", "cortex-m4", "vadd.f32 s0, s1, s2"),
    ("cortex-m3", "cortex-m4", "qadd8 r0, r1, r2"),
    ("cortex-m4", "cortex-m7", "vadd.f64 d0, d1, d2"),
    ("cortex-m4", "cortex-m7", "vrinta.f32 s0, s1"),  # FPv5
    ("cortex-m33", "cortex-m7", "vadd.f64 d0, d1, d2"),
    ("rv32imc", "rv32imafc", "fadd.s ft0, ft1, ft2"),
]
REJECTED_BY_DECODING = [
    ("cortex-m3", "cortex-m4", "smlad r0, r1, r2, r3", "lacks the DSP extension"),
    ("cortex-m3", "cortex-m4", "usad8 r0, r1, r2", "lacks the DSP extension"),
    ("rv32imc", "rv32imac", "amoadd.w t0, t1, (sp)", "lacks atomic instructions"),
    ("rv32imafc", "rv32imafdc", "fadd.d ft0, ft1, ft2", "lacks double precision"),
]
PERMITTED = [
    ("cortex-m3", "cortex-m3", "smull r0, r1, r2, r3"),
    ("cortex-m3", "cortex-m3", "sub r0, r1, r2"),
    ("cortex-m3", "cortex-m3", "sxth r0, r1"),
    ("cortex-m4", "cortex-m4", "smlad r0, r1, r2, r3"),
    ("cortex-m7", "cortex-m7", "vadd.f64 d0, d1, d2"),
    ("rv32imafc", "rv32imafc", "fmadd.s ft0, ft1, ft2, ft3"),
    ("rv32imafc", "rv32imafc", "amoadd.w t0, t1, (sp)"),
    ("cortex-a53", "cortex-a53", "fmla v0.4s, v1.4s, v2.4s"),
]
CLOBBERED = '__attribute__((naked)) static void used(void) {{ __asm__ volatile("{}; {}"); }}\n'


def code_with(line, core):
    """A step that calls a function of this one instruction, which may spoil no register that counts."""
    back = {"thumb": "bx lr", "riscv32": "ret", "aarch64": "ret"}[CORES.get(core, CORES["rv32imc"]).isa_name]
    call = "if (*(volatile int *)pilotfish_obs) used(); *(volatile int *)pilotfish_action = 7;"
    return CLOBBERED.format(line, back) + f"void pilotfish_step(void) {{ {call} }}\n"


@pytest.mark.parametrize("core, compiled_for, line", REJECTED_BY_THE_MODEL)
def test_the_emulators_model_rejects_what_the_core_lacks(core, compiled_for, line, firmware):
    with pytest.raises(PilotfishError, match=core) as caught:
        board_of(firmware(code_with(line, compiled_for), compiled_for), core).step([1, 0])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("core, compiled_for, line, message", REJECTED_BY_DECODING)
def test_what_the_model_lets_through_is_found_when_it_is_profiled(core, compiled_for, line, message, firmware):
    board = board_of(firmware(code_with(line, compiled_for), compiled_for), core)
    assert board.step([1, 0]).view(np.int32) == 7  # the leak
    with pytest.raises(BadInput, match=message) as caught:
        board.profile([[1, 0]])
    assert line.split()[0] in str(caught.value) and "used" in str(caught.value)


@pytest.mark.parametrize("core, compiled_for, line", PERMITTED)
def test_what_the_core_has_is_not_refused(core, compiled_for, line, firmware):
    board = board_of(firmware(code_with(line, compiled_for), compiled_for), core)
    assert board.profile([[1, 0]]).instructions[0] > 2


def test_floating_point_must_be_switched_on_by_the_firmware_on_riscv(firmware):
    with pytest.raises(BadInput, match=r"mstatus\.FS"):
        board_of(firmware(DOT, "rv32imafc", (3, 1, 1, 0), define="NO_SWITCH"), "rv32imafc").step([1, 2, 3])


def test_faults_are_told_in_words_on_every_instruction_set(firmware, monkeypatch):
    deep = (
        "__attribute__((noinline)) static int deep(int n) { volatile char a[400]; a[0] = n; return n ? deep(n - 1) + a[0] : 0; }"
    )
    cases = {
        "*(volatile int *)0x08000100 = 1;": "which is flash",
        "*(volatile int *)0x40020000 = 1;": "writes to 0x40020000, which is none",
        "pilotfish_action[0] = deep(100000);": "at most the 131,072 bytes of RAM",
    }
    for core in ("rv32imc", "cortex-a53"):
        for body, message in cases.items():
            step = f"if (pilotfish_obs[0] > 0) {{ {body} }} else pilotfish_action[0] = deep(1);"
            source = f"{deep}\nvoid pilotfish_step(void) {{ {step} }}\n"
            board = board_of(firmware(source, core), core)
            board.step([0, 0])
            with pytest.raises(BadInput, match=message):
                board.step([1, 0])
            board.reset()
            board.step([0, 0])
    monkeypatch.setattr(machine_module, "MAX_INSTRUCTIONS", 20_000)
    for core in ("rv32imc", "cortex-a53"):
        with pytest.raises(Unreachable, match="20,000 instructions from pilotfish_step"):
            board_of(firmware("void pilotfish_step(void) { for (;;) pilotfish_action[0] += 1; }\n", core), core).step([0, 0])


def test_code_of_another_instruction_set_is_refused_by_name(firmware):
    with pytest.raises(BadInput, match=r"code for thumb.*riscv32"):
        board_of(firmware(DOT, "rv32imc", (3, 1, 1, 0)), "cortex-m4")
    with pytest.raises(BadInput, match="64-bit"):
        board_of(firmware(DOT, "cortex-m4", (3, 1, 1, 0)), "cortex-a53")


def test_every_core_names_an_instruction_set_and_a_model_of_the_emulator():
    for core in CORES.values():
        constants = pytest.importorskip(core.isa.constants)
        assert core.isa is ISAS[core.isa_name] and isinstance(getattr(constants, core.unicorn_model), int)
