"""An RP2040's registers as far as a serial firmware needs them: resets, clocks, GPIO 0 and 1, UART0, timer, and the SSI.

RP2040 datasheet, from memory where Raspberry Pi's headers (pico-sdk, src/rp2040/hardware_regs) do not say it: a block in reset
does not answer, an oscillator that was enabled is stable, a powered PLL is locked, a glitchless multiplexer follows its
switch, and the timer counts microseconds only while the watchdog's tick divides the reference clock to 1 MHz.
"""

from __future__ import annotations

from .port import Fault, Port
from .quad_flash import QuadFlash

CLOCKS, RESETS, IO, PADS_QSPI, XOSC, PLL = 0x40008000, 0x4000C000, 0x40014000, 0x40020000, 0x40024000, 0x40028000
UART, TIMER, WATCHDOG, SSI = 0x40034000, 0x40054000, 0x40058000, 0x18000000
REF_CTRL, REF_DIV, REF_SELECTED, SYS_CTRL, SYS_DIV, SYS_SELECTED, PERI_CTRL = (CLOCKS + 0x30 + 4 * n for n in range(7))
RESUS_CTRL, RESET, RESET_DONE = CLOCKS + 0x78, RESETS, RESETS + 8
GPIO0_CTRL, GPIO1_CTRL = IO + 0x04, IO + 0x0C
XOSC_CTRL, XOSC_STATUS, XOSC_STARTUP = XOSC, XOSC + 0x04, XOSC + 0x0C
PLL_CS, PLL_PWR, PLL_FBDIV, PLL_PRIM = (PLL + 4 * n for n in range(4))
DR, FR, IBRD, FBRD, LCR_H, CR = (UART + offset for offset in (0x00, 0x18, 0x24, 0x28, 0x2C, 0x30))
RAWL, TICK = TIMER + 0x28, WATCHDOG + 0x2C
ROSC_HZ = 6.5e6
"""The ring oscillator that it starts on, roughly; nothing here depends on it."""
ALL_IN_RESET = 0x01FFFFFF
BLOCKS = {UART: 22, TIMER: 21, PLL: 12, IO: 5}
"""Base address -> its bit in RESETS."""


class Rp2040:
    """See :class:`pilotfish.targets.virtual.port.Chip`."""

    pages: tuple[tuple[int, int], ...] = tuple(
        (base, 0x1000) for base in (CLOCKS, RESETS, IO, PADS_QSPI, XOSC, PLL, UART, TIMER, WATCHDOG, SSI)
    )

    def __init__(self, port: Port, crystal_hz: float | None = 12e6) -> None:
        """``crystal_hz``: None for a board without one."""
        self._port, self._crystal_hz = port, crystal_hz or 0.0
        stored = (REF_CTRL, SYS_CTRL, PERI_CTRL, RESUS_CTRL, GPIO0_CTRL, GPIO1_CTRL, XOSC_CTRL, XOSC_STARTUP, TICK)
        self._values = dict.fromkeys((*stored, PLL_FBDIV, PLL_PRIM, IBRD, FBRD, LCR_H, CR), 0)
        self._values |= {REF_DIV: 0x100, SYS_DIV: 0x100, PLL_CS: 1, PLL_PWR: 0x2D, RESET: ALL_IN_RESET}
        self._values |= dict.fromkeys((PADS_QSPI + 4 * n for n in range(1, 7)), 0x52)
        self._divisor = 0
        self.flash = QuadFlash()

    def read(self, address: int) -> int:
        if address & ~0xFFF == SSI:
            return self.flash.read(address - SSI)
        self._out_of_reset(address)
        special = {
            RESET_DONE: lambda: ~self._values[RESET] & ALL_IN_RESET,
            REF_SELECTED: lambda: 1 << (self._values[REF_CTRL] & 3),
            SYS_SELECTED: lambda: 1 << (self._values[SYS_CTRL] & 1),
            XOSC_STATUS: lambda: self._crystal_runs << 31,
            PLL_CS: lambda: self._values[PLL_CS] | self._locked << 31,
            FR: self._status,
            DR: lambda: self._port.take() if self._enabled(9, GPIO1_CTRL) else 0,
            RAWL: self._microseconds,
        }.get(address)
        return special() if special else self._known(address)

    def write(self, address: int, value: int) -> None:
        if address & ~0xFFF == SSI:
            self.flash.write(address - SSI, value)
            return
        self._out_of_reset(address)
        if address == DR:
            if self._enabled(8, GPIO0_CTRL):
                self._port.send(value & 0xFF, self.baud)
            return
        self._known(address)
        self._values[address] = value
        if address == LCR_H:  # a write to it takes the divisor over (PL011 manual, UARTLCR_H)
            self._divisor = 64 * self._values[IBRD] + self._values[FBRD]

    def _known(self, address: int) -> int:
        if address not in self._values:
            raise Fault(f"the register at {address:#010x}, which this chip's model does not have")
        return self._values[address]

    def _out_of_reset(self, address: int) -> None:
        bit = BLOCKS.get(address & ~0xFFF)
        if bit is not None and self._values[RESET] >> bit & 1:
            raise Fault(f"the register at {address:#010x} of a block that is in reset")

    @property
    def _crystal_runs(self) -> bool:
        return bool(self._crystal_hz and self._values[XOSC_CTRL] == 0xFABAA0 and self._values[XOSC_STARTUP])

    @property
    def _locked(self) -> bool:
        return self._crystal_runs and not self._values[PLL_PWR] & 0x21 and 16 <= self._values[PLL_FBDIV] <= 320

    @property
    def _ref_hz(self) -> float:
        crystal = self._values[REF_CTRL] & 3 == 2
        return (self._crystal_hz if self._crystal_runs else 0.0) if crystal else ROSC_HZ

    @property
    def core_hz(self) -> float:
        """clk_sys: the reference clock, or PLL_SYS."""
        if not self._values[SYS_CTRL] & 1:
            return self._ref_hz
        if self._values[SYS_CTRL] >> 5 & 7 or not self._locked or self._values[PLL_PWR] & 8:
            return 0.0
        prim = self._values[PLL_PRIM]
        divide = (self._values[PLL_CS] & 63) * (prim >> 16 & 7) * (prim >> 12 & 7)
        return self._crystal_hz * self._values[PLL_FBDIV] / divide if divide else 0.0

    @property
    def baud(self) -> float:
        """UART0's; 0 while none is set."""
        peripheral = self.core_hz if self._values[PERI_CTRL] >> 11 & 1 and not self._values[PERI_CTRL] >> 5 & 7 else 0.0
        return peripheral * 4 / self._divisor if self._divisor else 0.0

    def _enabled(self, direction: int, pin: int) -> bool:
        eight_bits = self._values[LCR_H] >> 5 & 3 == 3
        return bool(self._values[CR] & 1 and self._values[CR] >> direction & 1 and self._values[pin] & 31 == 2 and eight_bits)

    def _status(self) -> int:
        """Nothing waits to be sent: the line takes no time; RXFE where no byte has arrived."""
        return 0x80 | (0 if self._enabled(9, GPIO1_CTRL) and self._port.waiting(self.baud) else 0x10)

    def _microseconds(self) -> int:
        tick = self._values[TICK]
        divide = tick & 511
        if not tick >> 9 & 1 or not divide or not self.core_hz:
            return 0
        return int(self._port.cycles() / self.core_hz * self._ref_hz / divide) & 0xFFFFFFFF
