"""report, numbers for people: few digits, a unit that fits, and close to what they were."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilotfish.runtime.report.numerals import duration, percent, plain, shortened, size


@given(st.floats(allow_nan=False, allow_infinity=False, width=32))
@settings(max_examples=100, deadline=None)
def test_numbers_read_back_close_to_what_they_were(value: float) -> None:
    text = plain(value).replace("\u2212", "-").replace(",", "").replace("\u00a0\u00d7\u00a010", "e")
    back = float(text.translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")))
    assert back == pytest.approx(value, rel=6e-3, abs=0.0)


def test_numbers_for_people() -> None:
    found = [size(812), size(21_504), size(1 << 20), size(None), duration(0.6), duration(42.31), duration(50_000), duration(0)]
    assert [text.replace("\u00a0", " ") for text in found] == [
        "812 bytes", "21 KiB", "1 MiB", "—", "600 ns", "42.3 µs", "50 ms", "0 µs",
    ]  # fmt: skip
    assert percent(-0.0123, signed=True) == "\u22121.2\u00a0%" and percent(0.0, signed=True) == "±0.0\u00a0%"
    assert len(shortened("x" * 500, 40)) == 40 and shortened("short") == "short"
