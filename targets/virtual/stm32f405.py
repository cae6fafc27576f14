"""An STM32F405's registers as far as a serial firmware needs them: clocks, flash latency, GPIO C, USART3, cycle counter.

RM0090, from memory where ST's header (cmsis_device_f4, stm32f405xx.h) does not say it: oscillators are ready once they are
enabled, the system clock follows its switch, 168 MHz need 5 wait states, and USART3 works only with both clocks, both pins and
itself enabled. Bytes take no time on the line.
"""

from __future__ import annotations

from .port import Fault, Port

RCC, FLASH, GPIOC, USART3, DWT = 0x40023800, 0x40023C00, 0x40020800, 0x40004800, 0xE0001000
CR, PLLCFGR, CFGR, AHB1ENR, APB1ENR = (RCC + offset for offset in (0x00, 0x04, 0x08, 0x30, 0x40))
MODER, OTYPER, OSPEEDR, PUPDR, AFRL, AFRH = (GPIOC + offset for offset in (0x00, 0x04, 0x08, 0x0C, 0x20, 0x24))
SR, DR, BRR, CR1, CR2, CR3 = (USART3 + offset for offset in (0x00, 0x04, 0x08, 0x0C, 0x10, 0x14))
DWT_CTRL, CYCCNT = DWT, DWT + 4
HSI_HZ = 16e6
HZ_PER_WAIT_STATE = 30e6
"""RM0090, 3.5.1, 2.7 to 3.6 V (from memory): each wait state allows 30 MHz more."""


class Stm32f405:
    """See :class:`pilotfish.targets.virtual.port.Chip`."""

    pages: tuple[tuple[int, int], ...] = ((0x40004000, 0x1000), (0x40020000, 0x1000), (0x40023000, 0x1000), (DWT, 0x1000))

    def __init__(self, port: Port, crystal_hz: float | None = 8e6) -> None:
        """``crystal_hz``: None for a board without one."""
        self._port, self._crystal_hz = port, crystal_hz
        self._started_at = 0
        self._values = dict.fromkeys((PLLCFGR, CFGR, AHB1ENR, APB1ENR, FLASH, BRR, CR1, CR2, CR3, DWT_CTRL), 0)
        self._values |= dict.fromkeys((MODER, OTYPER, OSPEEDR, PUPDR, AFRL, AFRH), 0)
        self._values[CR] = 0x83  # the internal oscillator runs (RM0090, 7.3.1)
        self._values[PLLCFGR] = 0x24003010

    def read(self, address: int) -> int:
        if address == SR:
            return self._status()
        if address == DR:
            return self._port.take() if self._receives else 0
        if address == CYCCNT:
            return (self._port.cycles() - self._started_at) & 0xFFFFFFFF if self._values[DWT_CTRL] & 1 else 0
        value = self._known(address)
        if address == CR:
            # Ready bits stand one above their enable bits: HSI, HSE (with a crystal), PLL.
            ready = 1 | (1 << 16 if self._crystal_hz else 0) | 1 << 24
            return (value & ~(ready << 1)) | (value & ready) << 1
        if address == CFGR:
            return (value & ~0xC) | (value & 3) << 2
        return value

    def write(self, address: int, value: int) -> None:
        if address == DR:
            if self._sends:
                self._port.send(value & 0xFF, self.baud)
            return
        if address == SR:
            return
        if address == CYCCNT:
            self._started_at = self._port.cycles() - value
            return
        self._known(address)
        self._values[address] = value
        if address in (CFGR, FLASH) and self.core_hz > HZ_PER_WAIT_STATE * (1 + (self._values[FLASH] & 7)):
            raise Fault(f"a core at {self.core_hz / 1e6:g} MHz with {self._values[FLASH] & 7} wait states of flash")

    def _known(self, address: int) -> int:
        if address not in self._values:
            raise Fault(f"the register at {address:#010x}, which this chip's model does not have")
        return self._values[address]

    @property
    def core_hz(self) -> float:
        """AHB is not divided here."""
        switch = self._values[CFGR] & 3
        if switch == 0:
            return HSI_HZ
        if switch == 1:
            return self._crystal_hz or 0.0
        pll = self._values[PLLCFGR]
        source = (self._crystal_hz or 0.0) if pll >> 22 & 1 else HSI_HZ
        divide, times, halve = pll & 63, pll >> 6 & 511, 2 * ((pll >> 16 & 3) + 1)
        return source / divide * times / halve if divide else 0.0

    @property
    def baud(self) -> float:
        """USART3's, from APB1's clock; 0 while none is set."""
        prescaler = self._values[CFGR] >> 10 & 7
        bus = self.core_hz / (2 << (prescaler & 3) if prescaler & 4 else 1)
        return bus / self._values[BRR] if self._values[BRR] else 0.0

    def _enabled(self, direction: int, pin: int) -> bool:
        values = self._values
        clocked = values[AHB1ENR] >> 2 & 1 and values[APB1ENR] >> 18 & 1
        wired = values[MODER] >> 2 * pin & 3 == 2 and values[AFRH] >> 4 * (pin - 8) & 15 == 7
        return bool(clocked and wired and values[CR1] >> 13 & 1 and values[CR1] >> direction & 1)

    @property
    def _sends(self) -> bool:
        return self._enabled(3, 10)

    @property
    def _receives(self) -> bool:
        return self._enabled(2, 11)

    def _status(self) -> int:
        """TC and TXE at once: the line takes no time; RXNE where a byte waits."""
        return 0xC0 | (0x20 if self._receives and self._port.waiting(self.baud) else 0)
