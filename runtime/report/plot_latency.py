"""Latency: the whole distribution with its tail, and the cycle band of a virtual board."""

from __future__ import annotations

import math
from typing import Any

from .canvas import LEGEND_BELOW, Plot, names, packed, safe, spread, time_axis, with_deadline
from .compare import Entry, figure
from .palette import ALERT, INK, SLATE

NOTHING_PERCENT = 1e-9
"""Height of an empty bin: below every axis, since a logarithm has no zero."""

DASHES = {"tight": "dot", "call": "dash"}
"""Modes drawn as lines only; paced decisions are what counts, and are filled."""


def latency(go: Any, group: list[Entry], colors: dict[str, str]) -> list[Plot]:
    """A histogram per artifact of one target, all over the same range; a bar per artifact where cycles are known."""
    timed = [entry for entry in group if entry["bench"] and entry["bench"]["histograms"]]
    edges = [edge for entry in timed for histogram in entry["bench"]["histograms"].values() for edge in _bounds(histogram)]
    drawn = [_cycles(go, [entry for entry in group if figure(entry, "cycles")], colors)]
    drawn += [_histogram(go, entry, colors[entry["policy"]], min(edges), max(edges)) for entry in timed if edges]
    return [plot for plot in drawn if plot]


def _bounds(histogram: dict[str, Any]) -> tuple[float, ...]:
    """Outer edges of the bins that hold anything, above zero."""
    edges, filled = histogram["edges_us"], [i for i, number in enumerate(histogram["counts"]) if number]
    if not filled or edges[filled[-1] + 1] <= 0:
        return ()
    left, right = edges[filled[0]], edges[filled[-1] + 1]
    return (left if left > 0 else right / 2, right)


def _histogram(go: Any, entry: Entry, color: str, low: float, high: float) -> Plot | None:
    """Share of decisions per bin, both axes logarithmic, so that the tail can be seen."""
    fig, least, slowest = go.Figure(), 100.0, low
    for mode, histogram in sorted(entry["bench"]["histograms"].items()):
        total = sum(histogram["counts"])
        if not total:
            continue
        shares = [100 * number / total for number in histogram["counts"]]
        slowest = max([slowest, *_bounds(histogram)])
        least = min([least, *(share for share in shares if share > 0)])
        fig.add_scatter(
            x=[edge if edge > 0 else low / 2 for edge in histogram["edges_us"]],
            y=[*(share or NOTHING_PERCENT for share in shares), NOTHING_PERCENT],
            mode="lines", name=f"{safe(mode)}, {total:,} decisions", fill="none" if mode in DASHES else "tozeroy",
            line={"shape": "hv", "width": 1.5, "color": SLATE if mode in DASHES else color, "dash": DASHES.get(mode, "solid")},
            hovertemplate=f"{safe(mode)}: %{{y:.3g}} % of {total:,} decisions at %{{x:.4g}} µs<extra></extra>",
        )  # fmt: skip
    if not fig.data:
        return None
    across = with_deadline(fig, entry["bench"]["deadline_us"], low, high, slowest)
    ticks = [10.0**power for power in range(2, math.floor(math.log10(least)) - 1, -1)]
    fig.update_layout(
        xaxis=time_axis(*across, "latency of a decision"),
        yaxis={
            "type": "log", "title": {"text": "% of decisions"}, "range": [math.log10(least) - 0.3, 2.05],
            "tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks],
        },
        showlegend=True, legend=LEGEND_BELOW,
    )  # fmt: skip
    return packed(fig, f"{entry['label']} ({entry['precision']})", height=320)


def _cycles(go: Any, group: list[Entry], colors: dict[str, str]) -> Plot | None:
    if not group:
        return None
    fig, ordered = go.Figure(), list(reversed(group))
    rows = names(ordered)
    cycles = [one for entry in ordered if (one := figure(entry, "cycles"))]
    spreads = [spread(one) for one in cycles]
    fig.add_bar(
        x=[one["value"] for one in cycles], y=rows, orientation="h", name="cycles; whiskers: band of the model", width=0.5,
        marker={"color": [colors[entry["policy"]] for entry in ordered], "opacity": 0.8},
        error_x={"type": "data", "array": [up for up, _ in spreads], "arrayminus": [down for _, down in spreads],
                 "thickness": 2, "width": 7, "color": INK},
        hovertemplate="%{y}: %{x:,.0f} cycles<extra></extra>",
    )  # fmt: skip
    counted = [
        (label, one["value"]) for label, entry in zip(rows, ordered, strict=True) if (one := figure(entry, "instructions"))
    ]
    if counted:
        fig.add_scatter(
            x=[value for _, value in counted], y=[label for label, _ in counted], mode="markers", name="instructions, exact",
            marker={"symbol": "line-ns", "size": 22, "line": {"width": 3, "color": ALERT}, "color": ALERT},
            hovertemplate="%{y}: %{x:,.0f} instructions<extra></extra>",
        )  # fmt: skip
    clock, deadline = group[0]["target"]["cpu"]["clock_hz"], group[0]["bench"]["deadline_us"]
    allowed = clock * deadline / 1e6 if clock and deadline else None
    note = ""
    if allowed and allowed <= 2 * max(one["high"] or one["value"] for one in cycles):
        fig.add_vline(x=allowed, line={"color": ALERT, "width": 2, "dash": "dash"})
        note = "; dashed: the deadline"
    elif allowed:
        note = f"; the deadline allows {allowed:,.0f}"
    fig.update_layout(
        xaxis={"title": {"text": "per decision"}, "rangemode": "tozero", "nticks": 6}, yaxis={"type": "category"},
        showlegend=True, legend=LEGEND_BELOW,
    )  # fmt: skip
    caption = f"{group[0]['target']['name']}: cycles ({cycles[0]['source']}){note}"
    return packed(fig, caption, height=max(320, 170 + 44 * len(group)))
