"""The serial firmware: built for both boards, executed on their virtual UARTs, and what it answers is the policy."""

from __future__ import annotations

import dataclasses
import importlib.util
import random
import struct

import numpy as np
import pytest

pytest.importorskip("onnx")

from random_policies import random_policy

from pilotfish.errors import BadInput, Unreachable
from pilotfish.export.c import build
from pilotfish.export.c.flash_image import UF2_FAMILY_RP2040, boot_crc, flat, pieces
from pilotfish.export.c.serial import BOARDS, build_serial, serial_beside
from pilotfish.export.onnx import to_onnx
from pilotfish.policy.cells import GRU
from pilotfish.policy.guard import Guard, GuardTable
from pilotfish.policy.guard_table import GUARD_FILE, dumped
from pilotfish.policy.layers import Activation, Linear
from pilotfish.policy.record import record_golden
from pilotfish.policy.reference import Reference
from pilotfish.runtime.wire_session import WireSession
from pilotfish.targets.profile import load_target
from pilotfish.targets.virtual.board import VirtualBoard
from pilotfish.targets.virtual.uart import CHIPS, BoardChannel, UartBoard
from pilotfish.targets.wire.client import Client
from pilotfish.targets.wire.frames import encode
from pilotfish.targets.wire.messages import Kind, floats

TARGETS = {"crazyflie": "stm32f405", "rp2040": "rp2040"}
BOUND = 1e-5


@pytest.fixture(scope="module")
def policy():
    """Recurrent, so that a decision taken twice is seen."""
    for module in ("ziglang", "unicorn", "capstone", "elftools"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    bare = random_policy([Linear("a", 9, 12), Activation("tanh"), GRU("g", 12, 6), Linear("b", 6, 4)], 9, 4, 0)
    return dataclasses.replace(bare, golden=record_golden(bare, None, steps=20, seed=3))


@pytest.fixture(scope="module")
def built(policy, tmp_path_factory):
    """target name -> (target, folder, fields), each built once."""
    out = {}
    for name in TARGETS:
        target, folder = load_target(name), tmp_path_factory.mktemp(name)
        out[name] = (target, folder, build(policy, to_onnx(policy), target, folder))
    return out


@pytest.fixture(params=TARGETS)
def board_of(request, built):
    """(target, folder, board(**how) -> a fresh one)."""
    target, folder, _ = built[request.param]
    boards = []

    def make(elf=folder / "serial" / "serial.elf", target=target, **how):
        boards.append(UartBoard(elf, target, **how))
        return boards[-1]

    yield target, folder, make
    for board in boards:
        board.close()


def client_of(board, **more):
    return Client(BoardChannel(board), timeout_s=0.001, **more)


def test_every_board_has_a_chip():
    assert set(BOARDS) == set(CHIPS) == set(TARGETS.values())


def test_the_artifact_has_what_a_programmer_takes(built):
    for name, (target, folder, fields) in built.items():
        elf = (folder / "serial" / "serial.elf").read_bytes()
        start, image = flat(elf)
        assert (folder / "serial" / "serial.bin").read_bytes() == image
        assert fields["sizes"]["serial_flash"] == sum(piece.size for piece in pieces(elf)) <= len(image)
        assert 0 < fields["sizes"]["serial_ram"] < 16384
        text = (folder / "serial" / "README.txt").read_text()
        assert f"{target.uart.baud} baud" in text and "$" not in text
        if name == "crazyflie":
            assert start == 0x08004000 and "0x08004000" in text  # behind the boot loader
            assert int.from_bytes(image[4:8], "little") >> 14 == 0x08004000 >> 14
        else:
            assert start == 0x10000000 and len(image[:252].rstrip(b"\xd4")) < 252
            assert int.from_bytes(image[252:256], "little") == boot_crc(image[:252])


def test_the_boot_checksum_is_the_one_of_the_boot_rom():
    """CRC-32/MPEG-2 of "123456789" is 0x0376E6E7 (the catalogue of parametrised CRC algorithms)."""
    assert boot_crc(b"123456789") == 0x0376E6E7


def test_uf2_holds_the_image_block_by_block(built):
    _, folder, _ = built["rp2040"]
    data, image = (folder / "serial" / "serial.uf2").read_bytes(), (folder / "serial" / "serial.bin").read_bytes()
    blocks = [data[at : at + 512] for at in range(0, len(data), 512)]
    out = b""
    for number, block in enumerate(blocks):
        magic, second, flags, address, size, index, count, family = struct.unpack_from("<8I", block)
        assert (magic, second, struct.unpack_from("<I", block, 508)[0]) == (0x0A324655, 0x9E5D5157, 0x0AB16F30)
        assert (flags, size, index, count, family) == (0x2000, 256, number, len(blocks), UF2_FAMILY_RP2040)
        assert address == 0x10000000 + 256 * number
        out += block[32 : 32 + size]
    assert out[: len(image)] == image and set(out[len(image) :]) <= {0xFF}


def test_it_says_what_it_is_at_the_clock_and_baud_rate_of_its_profile(board_of, policy):
    target, _, make = board_of
    board = make(metered=False)
    identity = client_of(board).identity
    assert identity.digest == policy.digest and identity.core_hz == target.cpu.clock_hz
    chip = board.machine.chip
    assert chip.core_hz == pytest.approx(target.cpu.clock_hz)
    assert chip.baud == pytest.approx(target.uart.baud, rel=0.002)


def test_the_golden_rollout_on_the_line(board_of, policy):
    _, _, make = board_of
    session = WireSession(client_of(make(metered=False)), policy.contract, digest=policy.digest)
    golden = policy.golden
    for t, obs in enumerate(golden.obs):
        if golden.start[t]:
            session.reset()
        np.testing.assert_allclose(session.act(obs), golden.action[t], rtol=0, atol=BOUND)
    reference = Reference(policy, np.float64)
    for obs in golden.obs:
        reference.act(obs)
    if golden.start.sum() == 1:
        np.testing.assert_allclose(session.state, reference.state, rtol=0, atol=BOUND)


def test_its_own_clock_agrees_with_the_profile_of_the_other_firmware(board_of, policy):
    """The same policy linked elsewhere: within 3 % of the typical cycles, for one decision and for many back to back."""
    target, folder, make = board_of
    plain = VirtualBoard(folder / "firmware.elf", target)
    profile = plain.profile(policy.golden.obs[:1])
    plain.close()
    expected = profile.cycles_typical[0] + profile.memory_stall_cycles[0]
    client = client_of(make())
    identity = client.identity
    ticks = client.step(policy.golden.obs[0]).ticks
    microsecond = identity.core_hz / identity.clock_hz  # the RP2040's clock ticks this often
    assert abs(ticks * microsecond - expected) <= 0.03 * expected + 2 * microsecond
    client.hold(policy.golden.obs[:1])
    tight = client.tight(3)
    assert abs(tight[0] - ticks) <= 0.01 * ticks + 2  # soft float takes longer once the state is not zero
    assert 0.9 * ticks < tight.min() <= tight.max() < 1.1 * ticks
    assert client.stats().last_ticks == ticks


def test_paced_decisions_keep_their_releases(board_of, policy):
    """At 20,000 a second on the M4F (8,400 cycles); fewer where floating point is soft. A spin reads the clock over and over."""
    target, _, make = board_of
    session = WireSession(client_of(make()), policy.contract)
    fpu = "fpu-sp" in target.cpu.features
    run = session.paced(policy.golden.obs[:2], 20_000.0 if fpu else 350.0, 4)
    assert run.misses == 0 and run.skipped == 0
    assert (run.start_ns < (1_000 if fpu else 5_000)).all() and (run.call_ns > 1_000).all()
    np.testing.assert_array_equal(session.state, 0)


class Noise:
    """Flipped bits and lost bytes, both ways."""

    def __init__(self, channel, rate, seed):
        self._channel, self._rate, self._random = channel, rate, random.Random(seed)

    def _damage(self, data):
        out = bytearray()
        for byte in data:
            if self._random.random() < self._rate:
                if self._random.random() < 0.5:
                    continue
                byte ^= 1 << self._random.randrange(8)
            out.append(byte)
        return bytes(out)

    def write(self, data):
        self._channel.write(self._damage(data))

    def read(self, max_bytes, timeout_s):
        return self._damage(self._channel.read(max_bytes, timeout_s))

    def close(self):
        self._channel.close()


def test_noise_on_the_line_never_changes_an_action(board_of, policy):
    _, _, make = board_of
    rows = np.tile(policy.golden.obs, (2, 1))
    quiet = WireSession(client_of(make(metered=False)), policy.contract)
    expected = [quiet.act(row) for row in rows]
    noisy = WireSession(Client(Noise(BoardChannel(make(metered=False)), 0.004, 7), timeout_s=0.001, attempts=60), policy.contract)
    np.testing.assert_array_equal([noisy.act(row) for row in rows], expected)
    np.testing.assert_array_equal(noisy.state, quiet.state)
    assert noisy.client.retries > 5 and noisy.client.stats().damaged > 0


def test_stop_starts_it_over(board_of, policy):
    _, _, make = board_of
    client = client_of(make(metered=False))
    first = client.step(policy.golden.obs[0]).action
    client.step(policy.golden.obs[1])
    client.stop()
    np.testing.assert_array_equal(client.step(policy.golden.obs[0]).action, first)


def test_another_baud_rate_is_only_noise(board_of):
    target, _, make = board_of
    other = dataclasses.replace(target, uart=dataclasses.replace(target.uart, baud=57_600))
    with pytest.raises(Unreachable, match="did not answer"):
        client_of(make(target=other, metered=False), attempts=2).reset()


def test_a_repeated_frame_is_answered_from_memory(board_of, policy):
    _, _, make = board_of
    board = make(metered=False)
    frame = encode(Kind.STEP, 5, floats(policy.golden.obs[0]))
    once = board.exchange(frame)
    assert once and board.exchange(frame) == once


@pytest.mark.parametrize(("name", "baud"), [("crazyflie", 1_000_000), ("rp2040", 2_000_000)])
def test_other_baud_rates_are_set_exactly(name, baud, built, tmp_path):
    """One and two megabaud divide 42 MHz / 16 in 16ths and 125 MHz / 16 in 64ths. The policy is left out."""
    target, folder, _ = built[name]
    target = dataclasses.replace(target, uart=dataclasses.replace(target.uart, baud=baud))
    stub = '#include "policy.h"\nvoid policy_reset(float *s) { (void)s; }\n'
    stub += "void policy_step(const float *o, float *s, float *a) { (void)o; (void)s; (void)a; }\n"
    (tmp_path / "policy.c").write_text(stub)
    (tmp_path / "policy.h").write_bytes((folder / "policy.h").read_bytes())
    bare = random_policy([Linear("a", 9, 4)], 9, 4, 0)
    build_serial(bare, target, tmp_path)
    board = UartBoard(tmp_path / "serial" / "serial.elf", target, metered=False)
    client_of(board).reset()
    assert board.machine.chip.baud == pytest.approx(baud, rel=1e-9)
    board.close()


def test_a_guard_flies_in_the_firmware(policy, tmp_path):
    """What it does and what it counts is read on the line."""
    table = GuardTable((-5.0,) * 9, (5.0,) * 9, (-0.1,) * 4, (0.1,) * 4, (0.0,) * 4, (0.05,) * 4, stale_us=1000)
    (tmp_path / GUARD_FILE).write_text(dumped(table))
    target = load_target("crazyflie")
    build(policy, to_onnx(policy), target, tmp_path)
    board = UartBoard(tmp_path / "serial" / "serial.elf", target, metered=False)
    client, guard, reference = client_of(board), Guard(table), Reference(policy)
    client.reset()
    for age, obs in zip((0, 0, 5000, 0), policy.golden.obs, strict=False):
        expected, flags = guard.step(obs, reference.act, age_us=age, restart=reference.reset)
        decision = client.guarded_step(obs, age)
        np.testing.assert_allclose(decision.action, expected, rtol=0, atol=BOUND)
        assert decision.flags == flags
    assert client.guard_counters() == guard.counters and guard.counters["obs_stale"] == 1
    board.close()


def test_without_a_crystal_an_stm32_runs_from_its_own_oscillator(built):
    target, folder, _ = built["crazyflie"]
    board = UartBoard(folder / "serial" / "serial.elf", target, metered=False, crystal_hz=None)
    assert client_of(board).identity.board == "STM32F405 USART3, no crystal"
    assert board.machine.chip.core_hz == 168e6
    board.close()


def test_a_damaged_second_stage_is_not_started(built, tmp_path):
    target, folder, _ = built["rp2040"]
    elf = bytearray((folder / "serial" / "serial.elf").read_bytes())
    elf[pieces(bytes(elf))[0].at + 20] ^= 1
    (tmp_path / "broken.elf").write_bytes(elf)
    with pytest.raises(BadInput, match="second stage of the boot with its CRC"):
        UartBoard(tmp_path / "broken.elf", target, metered=False)


def test_what_cannot_be_is_said_and_leaves_nothing(policy, built, tmp_path):
    target, folder, _ = built["crazyflie"]
    slow = dataclasses.replace(target, cpu=dataclasses.replace(target.cpu, clock_hz=100e6))
    for name in ("policy.c", "policy.h"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    said, sizes = serial_beside(policy, slow, tmp_path)
    assert said.startswith("none: ") and "clock_hz" in said and sizes == {} and not (tmp_path / "serial").exists()
    small = dataclasses.replace(target, memory=dataclasses.replace(target.memory, ram_bytes=6144))
    said, sizes = serial_beside(policy, small, tmp_path)
    assert "RAM" in said and sizes == {} and not (tmp_path / "serial").exists()


def test_equal_policies_give_equal_firmware(policy, built, tmp_path):
    target, folder, fields = built["rp2040"]
    for name in ("policy.c", "policy.h"):
        (tmp_path / name).write_bytes((folder / name).read_bytes())
    sizes = build_serial(policy, target, tmp_path)
    assert sizes.items() <= fields["sizes"].items()
    assert (tmp_path / "serial" / "serial.bin").read_bytes() == (folder / "serial" / "serial.bin").read_bytes()
