"""The [uart] table of a target: which serial line the C back-end's serial firmware answers on (docs/wire.md)."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass


@dataclass(frozen=True, config=ConfigDict(extra="forbid", use_attribute_docstrings=True))
class Uart:
    """A board's serial line; pins and registers stand in the board's own C file."""

    board: Literal["stm32f405", "rp2040"]
    """Which board's six functions: stm32f405 (USART3 on PC10 and PC11), rp2040 (UART0 on GPIO 0 and 1)."""
    baud: int = Field(default=115_200, ge=9_600, le=2_000_000)
    """Bits a second, 8 data bits, no parity, one stop bit; the host must be told the same."""
    crystal_hz: int | None = Field(default=None, ge=4_000_000, le=26_000_000, multiple_of=1_000_000)
    """The board's crystal; None: the usual one, 8 MHz for an STM32F405 (a Crazyflie's), 12 MHz for an RP2040 (a Pico's)."""
    flash_offset_bytes: int = Field(default=0, ge=0, multiple_of=256)
    """Flash that is left to a boot loader in front of the firmware."""
