"""An RP2040's flash interface (SSI) and the quad flash behind it, as far as the second stage of the boot drives them.

Commands after Winbond's W25Q080 and W25Q16JV: 05h and 35h read the status registers, 06h enables a write, 01h writes both, EBh
with the mode bits A0h begins a continuous read. Registers after pico-sdk, src/rp2040/hardware_regs, ssi.h.
"""

from __future__ import annotations

from .port import Fault

CTRLR0, CTRLR1, SSIENR, BAUDR, SR, DR0, SAMPLE_DELAY, SPI_CTRLR0 = 0x00, 0x04, 0x08, 0x14, 0x28, 0x60, 0xF0, 0xF4
BYTES_ONE_LINE = 7 << 16
WORDS_FOUR_LINES = 2 << 21 | 31 << 16 | 3 << 8
ENTER = 8 << 2 | 4 << 11 | 2 << 8 | 1
STAY = 0xA0 << 24 | 8 << 2 | 4 << 11 | 2


class QuadFlash:
    """A flash that was never used: quad mode is off."""

    def __init__(self) -> None:
        self._values = dict.fromkeys((CTRLR0, CTRLR1, SSIENR, BAUDR, SAMPLE_DELAY, SPI_CTRLR0), 0)
        self._out: list[int] = []
        self._in: list[int] = []
        self.quad = False
        """The status register's quad enable bit."""
        self._writable = self._continuous = False

    @property
    def mapped(self) -> bool:
        """Is flash readable as memory now?"""
        set_up = self._values[SSIENR] == 1 and self._values[CTRLR0] == WORDS_FOUR_LINES
        return self._continuous and set_up and self._values[SPI_CTRLR0] == STAY and self._values[BAUDR] >= 2

    def read(self, offset: int) -> int:
        if offset == SR:
            self._exchange()
            return 4 | (8 if self._in else 0)  # nothing left to send, not busy
        if offset == DR0:
            return self._in.pop(0) if self._in else 0
        if offset not in self._values:
            raise Fault(f"the SSI register at offset {offset:#x}, which this model does not have")
        return self._values[offset]

    def write(self, offset: int, value: int) -> None:
        if offset == DR0:
            if self._values[SSIENR]:
                self._out.append(value)
            return
        if offset not in self._values:
            raise Fault(f"the SSI register at offset {offset:#x}, which this model does not have")
        if offset != SSIENR and self._values[SSIENR]:
            raise Fault("a change to an SSI that is enabled")
        self._values[offset] = value
        if offset == SSIENR and not value:
            self._out.clear()
            self._in.clear()

    def _exchange(self) -> None:
        """All that was written goes out in one transaction; as many bytes come back."""
        out, self._out = self._out, []
        if not out:
            return
        if self._values[CTRLR0] == BYTES_ONE_LINE:
            self._in += self._command(out)
        elif self._values[CTRLR0] == WORDS_FOUR_LINES and self._values[SPI_CTRLR0] == ENTER:
            self._continuous = self.quad and out == [0xEB, 0xA0]
            self._in.append(0)
        else:
            raise Fault(f"a transaction of {out} in a mode that the flash does not know")

    def _command(self, out: list[int]) -> list[int]:
        code = out[0]
        if code == 0x35:
            return [0, *[2 * self.quad] * (len(out) - 1)]
        if code == 0x06:
            self._writable = True
        elif code == 0x01 and self._writable and len(out) == 3:
            self.quad, self._writable = bool(out[2] & 2), False
        return [0] * len(out)
