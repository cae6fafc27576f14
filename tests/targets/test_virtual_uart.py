"""The chips behind a virtual UART: they allow what the real ones allow, and say what was wrong with the rest."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path

import pytest

from pilotfish.errors import BadInput, Unsupported
from pilotfish.targets.profile import TARGET, load_target, shipped_targets, validated
from pilotfish.targets.virtual import quad_flash, rp2040, stm32f405
from pilotfish.targets.virtual.port import Fault, Port
from pilotfish.targets.virtual.quad_flash import QuadFlash
from pilotfish.targets.virtual.rp2040 import Rp2040
from pilotfish.targets.virtual.stm32f405 import Stm32f405


class Bench:
    """A port whose firmware would pause, and a cycle counter that is set by hand."""

    def __init__(self, chip, baud=115_200, **more):
        self.cycles, self.pauses = 0, 0
        self.port = Port(baud, lambda: self.cycles, self._pause)
        self.chip = chip(self.port, **more)

    def _pause(self):
        self.pauses += 1

    def write(self, *pairs):
        for address, value in pairs:
            self.chip.write(address, value)


F405_CLOCKS = (
    (stm32f405.CR, 1 | 1 << 16),
    (stm32f405.FLASH, 5),
    (stm32f405.PLLCFGR, 8 | 336 << 6 | 1 << 22),
    (stm32f405.CR, 1 | 1 << 16 | 1 << 24),
    (stm32f405.CFGR, 5 << 10 | 4 << 13 | 2),
)
F405_LINE = (
    (stm32f405.AHB1ENR, 1 << 2),
    (stm32f405.APB1ENR, 1 << 18),
    (stm32f405.MODER, 0xA << 20),
    (stm32f405.AFRH, 0x7700),
    (stm32f405.BRR, 365),
    (stm32f405.CR1, 1 << 13 | 1 << 3 | 1 << 2),
)


def test_an_stm32_talks_once_everything_is_switched_on():
    bench = Bench(Stm32f405)
    bench.write(*F405_CLOCKS, *F405_LINE)
    assert bench.chip.core_hz == 168e6 and bench.chip.baud == pytest.approx(115_200, rel=0.002)
    bench.port.arrive(b"ab")
    assert bench.chip.read(stm32f405.SR) & 0x20 and bench.chip.read(stm32f405.DR) == ord("a")
    assert bench.chip.read(stm32f405.DR) == ord("b") and not bench.chip.read(stm32f405.SR) & 0x20
    bench.write((stm32f405.DR, 0x141))
    assert bench.port.leave() == b"A" and bench.port.leave() == b""


@pytest.mark.parametrize("missing", range(6))
def test_an_stm32_is_silent_and_deaf_while_anything_is_missing(missing):
    bench = Bench(Stm32f405)
    bench.write(*F405_CLOCKS, *(F405_LINE[:missing] + F405_LINE[missing + 1 :]))
    bench.port.arrive(b"a")
    assert not bench.chip.read(stm32f405.SR) & 0x20
    bench.write((stm32f405.DR, 65))
    assert bench.port.leave() == b""


def test_an_stm32_without_wait_states_crashes_at_full_speed():
    bench = Bench(Stm32f405)
    with pytest.raises(Fault, match="168 MHz with 4 wait states"):
        bench.write(*((address, 4 if address == stm32f405.FLASH else value) for address, value in F405_CLOCKS))


def test_an_stm32s_crystal_is_ready_only_where_there_is_one():
    for crystal, ready in ((8e6, True), (None, False)):
        bench = Bench(Stm32f405, crystal_hz=crystal)
        bench.write((stm32f405.CR, 1 | 1 << 16))
        assert bool(bench.chip.read(stm32f405.CR) >> 17 & 1) is ready


def test_an_stm32s_cycle_counter_counts_once_it_is_enabled():
    bench = Bench(Stm32f405)
    bench.cycles = 100
    assert bench.chip.read(stm32f405.CYCCNT) == 0
    bench.write((stm32f405.DWT_CTRL, 1), (stm32f405.CYCCNT, 0))
    bench.cycles = 100 + 2**32 + 7
    assert bench.chip.read(stm32f405.CYCCNT) == 7


def test_firmware_pauses_at_its_second_look_for_a_byte():
    bench = Bench(Stm32f405)
    bench.write(*F405_CLOCKS, *F405_LINE)
    bench.chip.read(stm32f405.SR)
    bench.write((stm32f405.DR, 1))
    bench.chip.read(stm32f405.SR)
    assert bench.pauses == 0  # each of the two looks was about sending
    bench.chip.read(stm32f405.SR)
    assert bench.pauses == 1


@pytest.mark.parametrize(("chip", "address"), [(Stm32f405, 0x40023850), (Rp2040, rp2040.CLOCKS)])
def test_a_register_that_the_model_lacks_is_a_fault(chip, address):
    bench = Bench(chip)
    with pytest.raises(Fault, match="does not have"):
        bench.chip.read(address)
    with pytest.raises(Fault, match="does not have"):
        bench.chip.write(address, 0)


PICO_CLOCKS = (
    (rp2040.XOSC_STARTUP, 47),
    (rp2040.XOSC_CTRL, 0xFABAA0),
    (rp2040.RESET, rp2040.ALL_IN_RESET & ~(1 << 12 | 1 << 21 | 1 << 22 | 1 << 5)),
    (rp2040.PLL_FBDIV, 125),
    (rp2040.PLL_PWR, 0x2D & ~0x29),
    (rp2040.PLL_PRIM, 6 << 16 | 2 << 12),
    (rp2040.REF_CTRL, 2),
    (rp2040.SYS_CTRL, 1),
    (rp2040.PERI_CTRL, 1 << 11),
    (rp2040.TICK, 1 << 9 | 12),
)
PICO_LINE = (
    (rp2040.IBRD, 67),
    (rp2040.FBRD, 52),
    (rp2040.LCR_H, 0x70),
    (rp2040.CR, 0x301),
    (rp2040.GPIO0_CTRL, 2),
    (rp2040.GPIO1_CTRL, 2),
)


def test_an_rp2040_talks_once_everything_is_switched_on():
    bench = Bench(Rp2040)
    bench.write(*PICO_CLOCKS, *PICO_LINE)
    assert bench.chip.core_hz == 125e6 and bench.chip.baud == pytest.approx(115_200, rel=0.001)
    bench.port.arrive(b"z")
    assert not bench.chip.read(rp2040.FR) & 0x10 and bench.chip.read(rp2040.DR) == ord("z")
    assert bench.chip.read(rp2040.FR) & 0x10
    bench.write((rp2040.DR, 66))
    assert bench.port.leave() == b"B"
    bench.cycles = 125 * 1234
    assert bench.chip.read(rp2040.RAWL) == 1234


@pytest.mark.parametrize("missing", range(6))
def test_an_rp2040_is_not_understood_while_anything_is_missing(missing):
    """Without the fraction of its divisor the baud rate is 1.2 % off, which is understood."""
    bench = Bench(Rp2040)
    bench.write(*PICO_CLOCKS, *(PICO_LINE[:missing] + PICO_LINE[missing + 1 :]))
    bench.write((rp2040.DR, 66))
    bench.port.arrive(b"z")
    deaf = bool(bench.chip.read(rp2040.FR) & 0x10)
    assert (bench.port.leave() == b"B", deaf) == {1: (True, False), 4: (False, False), 5: (True, True)}.get(
        missing, (False, True)
    )


def test_an_rp2040s_blocks_do_not_answer_while_in_reset():
    bench = Bench(Rp2040)
    for address in (rp2040.FR, rp2040.RAWL, rp2040.PLL_CS, rp2040.GPIO0_CTRL):
        with pytest.raises(Fault, match="in reset"):
            bench.chip.read(address)


def flash_in_order(flash, *, first=True):
    """What the second stage of the boot does, by the register."""
    flash.write(quad_flash.BAUDR, 4)
    flash.write(quad_flash.CTRLR0, quad_flash.BYTES_ONE_LINE)
    flash.write(quad_flash.SSIENR, 1)

    def send(*out):
        for byte in out:
            flash.write(quad_flash.DR0, byte)
        assert flash.read(quad_flash.SR) & 5 == 4
        return [flash.read(quad_flash.DR0) for _ in out]

    if first:
        assert send(0x35, 0)[1] == 0
        send(0x06)
        send(0x01, 0, 2)
        assert send(0x05, 0)[1] & 1 == 0
    assert send(0x35, 0)[1] == 2 * first
    flash.write(quad_flash.SSIENR, 0)
    flash.write(quad_flash.CTRLR0, quad_flash.WORDS_FOUR_LINES)
    flash.write(quad_flash.SPI_CTRLR0, quad_flash.ENTER)
    flash.write(quad_flash.SSIENR, 1)
    send(0xEB, 0xA0)
    flash.write(quad_flash.SSIENR, 0)
    flash.write(quad_flash.SPI_CTRLR0, quad_flash.STAY)
    assert not flash.mapped
    flash.write(quad_flash.SSIENR, 1)


def test_a_quad_flash_is_mapped_once_quad_mode_was_enabled():
    flash = QuadFlash()
    flash_in_order(flash)
    assert flash.mapped and flash.quad
    flash = QuadFlash()
    flash_in_order(flash, first=False)
    assert not flash.mapped and not flash.quad


def test_a_quad_flash_is_not_written_without_leave_nor_set_up_while_enabled():
    flash = QuadFlash()
    flash.write(quad_flash.CTRLR0, quad_flash.BYTES_ONE_LINE)
    flash.write(quad_flash.SSIENR, 1)
    for byte in (0x01, 0, 2):
        flash.write(quad_flash.DR0, byte)
    flash.read(quad_flash.SR)
    assert not flash.quad
    with pytest.raises(Fault, match="enabled"):
        flash.write(quad_flash.BAUDR, 2)


def test_a_board_without_a_serial_line_is_refused():
    pytest.importorskip("unicorn")
    from pilotfish.targets.virtual.uart import UartBoard

    target = dataclasses.replace(load_target("crazyflie"), uart=None)
    with pytest.raises(Unsupported, match="uart"):
        UartBoard(Path("serial.elf"), target)


@pytest.mark.parametrize(
    ("field", "value"), [("board", "teensy41"), ("baud", 300), ("flash_offset_bytes", 100), ("crystal_hz", 32_768), ("pins", 3)]
)
def test_a_profile_with_a_wrong_uart_table_is_refused(field, value):
    data = tomllib.loads(shipped_targets()["rp2040"].read_text())
    data["uart"][field] = value
    with pytest.raises(BadInput, match=field):
        validated(TARGET, data, "rp2040.toml")
