"""A figure: a number that says where it comes from. No bare number is ever reported."""

from __future__ import annotations

from typing import Literal

from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

Source = Literal["measured", "emulated", "estimated"]


@dataclass(frozen=True, config=ConfigDict(extra="forbid", use_attribute_docstrings=True))
class Figure:
    """One value with its unit, its source and how far it can be trusted."""

    value: float | None
    """The number; None where the sample does not support it (``note`` says why)."""
    unit: str
    """SI or plain unit: "us", "bytes", "cycles", "return"."""
    source: Source
    """measured on the device, emulated by executing the real binary, or estimated from a model."""
    samples: int = 1
    """How many observations stand behind ``value``."""
    low: float | None = None
    """Lower end of the spread, in ``unit``."""
    high: float | None = None
    """Upper end of the spread, in ``unit``."""
    spread: str = ""
    """What low and high are: "95 % bootstrap interval", "min-max", "lo/hi of the cost model"."""
    device: str = ""
    """Short name of the device it was taken on; the full fingerprint lies beside the results."""
    note: str = ""
    """Anything a reader must know before trusting the number."""

    def text(self, digits: int = 3) -> str:
        """The figure for a person, such as "5.41 us (measured)"."""
        if self.value is None:
            return f"not reported ({self.note})"
        number = f"{self.value:,.0f}" if abs(self.value) >= 10**digits else f"{self.value:.{digits}g}"
        return f"{number} {self.unit} ({self.source})"
