"""A soak: latency per stretch over time, and the temperature beneath it."""

from __future__ import annotations

import math
from typing import Any

from .canvas import LEGEND_BELOW, Plot, packed, time_axis
from .compare import Entry
from .numerals import duration, times
from .palette import ALERT, INK, SLATE

NEAR = 30.0
"""A deadline within this factor of the slowest is drawn; a farther one is named in the caption."""

UNITS = (("seconds", 1.0, 180.0), ("minutes", 60.0, 3 * 3600.0))
"""(name, how many seconds it has, from which length of a soak on the next one is used)"""
LONGEST = ("hours", 3600.0)
FEW = 40
"""Up to so many stretches get a marker each: a line through one point cannot be seen."""


def soaks(go: Any, entry: Entry, colors: dict[str, str]) -> list[Plot]:
    """Nothing, one plot (latency) or two (temperature) of an artifact."""
    stretches = entry["soak"]["stretches"] if entry["soak"] else []
    if not stretches:
        return []
    middles = [each["start_s"] + each["seconds"] / 2 for each in stretches]
    unit, scale = next(((unit, scale) for unit, scale, most in UNITS if middles[-1] < most), LONGEST)
    at = [middle / scale for middle in middles]
    drawn = [_latency(go, entry, stretches, at, unit, colors[entry["policy"]])]
    degrees = [each["hottest_c"] for each in stretches]
    if any(each is not None for each in degrees):
        fig = go.Figure()
        fig.add_scatter(x=at, y=degrees, mode=_mode(at), line={"color": ALERT, "width": 1.5}, marker={"size": 5},
                        hovertemplate="%{x:.3g} " + unit + ": %{y:.1f} °C<extra></extra>")  # fmt: skip
        fig.update_layout(xaxis={"title": {"text": unit}}, yaxis={"title": {"text": "hottest sensor, °C"}}, showlegend=False)
        drawn.append(packed(fig, f"{entry['label']}: temperature over the soak", height=300))
    return drawn


def _mode(at: list[float]) -> str:
    return "lines+markers" if len(at) <= FEW else "lines"


def _latency(go: Any, entry: Entry, stretches: list[dict[str, Any]], at: list[float], unit: str, color: str) -> Plot:
    fig, values = go.Figure(), []
    for key, label, style in (
        ("p50_us", "median", {"color": color, "width": 2}),
        ("p99_us", "99th percentile", {"color": SLATE, "width": 1.5}),
        ("worst_us", "worst", {"color": INK, "width": 1, "dash": "dot"}),
    ):
        shown = [max(each[key], 1e-3) if each[key] is not None else None for each in stretches]
        if any(value is not None for value in shown):
            values += [value for value in shown if value is not None]
            fig.add_scatter(x=at, y=shown, mode=_mode(at), name=label, line=style, marker={"size": 5},
                            hovertemplate=f"{label}: %{{y:.4g}} µs at %{{x:.3g}} {unit}<extra></extra>")  # fmt: skip
    low, high, deadline = min(values), max(values), entry["soak"]["deadline_us"]
    note = ""
    if deadline and deadline <= NEAR * high:
        fig.add_hline(y=deadline, line={"color": ALERT, "width": 2, "dash": "dash"})
        note, high = f"; dashed: the deadline of {duration(deadline)}", max(high, deadline)
    elif deadline:
        note = f"; the deadline of {duration(deadline)} is {times(deadline / high)} times the slowest"
    missed = sum(each["misses"] for each in stretches)
    late = f"{missed:,} deadlines missed" if missed else "no deadline missed"
    fig.update_layout(
        xaxis={"title": {"text": unit}}, yaxis=time_axis(math.log10(low) - 0.2, math.log10(high) + 0.2, "response"),
        showlegend=True, legend=LEGEND_BELOW,
    )  # fmt: skip
    ended = ", interrupted" if entry["soak"]["interrupted"] else ""
    return packed(fig, f"{entry['label']} over time{ended}: {late}{note}", height=340, wide=True)
