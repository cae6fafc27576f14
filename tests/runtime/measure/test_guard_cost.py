"""What a guard costs, of latencies that are known."""

import numpy as np
import pytest

from pilotfish.runtime.measure.guard_cost import INSIDE, guard_figures


def test_the_cost_is_the_difference_of_the_medians() -> None:
    alone = np.append(np.linspace(1, 4, 101), [9.0, 0.5] * 4)
    figures = guard_figures(alone, alone + 0.75, "here")
    assert set(figures) == {"guarded_p50_us", "guard_us"}
    assert figures["guarded_p50_us"].value == pytest.approx(2.5 + 0.75) and figures["guarded_p50_us"].note == INSIDE
    assert figures["guard_us"].value == pytest.approx(0.75) and figures["guard_us"].samples == 109
    assert {figure.source for figure in figures.values()} == {"measured"} and not figures["guard_us"].note


def test_no_cost_is_no_cost_and_less_than_none_is_the_noise() -> None:
    alone = np.full(300, 0.08)
    assert guard_figures(alone, alone, "here")["guard_us"].value == 0
    less = guard_figures(alone, np.full(200, 0.07), "here", how="so")
    assert less["guard_us"].value == pytest.approx(-0.01) and less["guard_us"].samples == 200
    assert "less than the noise" in less["guard_us"].note and less["guarded_p50_us"].note == "so"
