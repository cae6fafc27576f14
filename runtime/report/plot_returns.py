"""Returns: every episode a dot, the mean with its interval, and the same seed by seed against the reference."""

from __future__ import annotations

from typing import Any

from .canvas import Plot, name_in_two_lines, over, packed, safe, spread
from .compare import Entry, figure
from .numerals import GAP, plain
from .palette import INK


def returns(go: Any, group: list[Entry], colors: dict[str, str]) -> list[Plot]:
    """Two plots for the artifacts that flew in one environment: as they are, and paired."""
    shown = [entry for entry in group if entry["evaluate"]["returns"] or figure(entry, "return")]
    if not shown:
        return []
    ordered = list(reversed(shown))
    absolute, paired = go.Figure(), go.Figure()
    any_paired = False
    for place, entry in enumerate(ordered):
        result, color = entry["evaluate"], colors[entry["policy"]]
        _dots(absolute, result["returns"], result["seeds"], place, color, "return")
        _mean(absolute, figure(entry, "return"), place, color)
        if result["reference_returns"]:
            any_paired = True
            differences = [a - b for a, b in zip(result["returns"], result["reference_returns"], strict=True)]
            _dots(paired, differences, result["seeds"], place, color, "difference")
            _mean(paired, figure(entry, "difference"), place, color)
    _references(absolute, shown)
    axis = {
        "tickvals": list(range(len(ordered))),
        "ticktext": [name_in_two_lines(entry) for entry in ordered],
        "range": [-0.6, len(ordered) - 0.4],
        "zeroline": False,
        "tickfont": {"size": 12},
    }
    for fig, text in ((absolute, "return of an episode"), (paired, "difference of return")):
        fig.update_layout(xaxis={"title": {"text": text}, "nticks": 6}, yaxis=axis, showlegend=False)
    env = group[0]["evaluate"]["env"] or group[0]["env"]
    height = 130 + 54 * len(shown)
    caption = f"Return{f' in {env}' if env else ''}: a dot per episode, a bar for the 95{GAP}% interval of the mean"
    drawn = [packed(absolute, caption, height=height)]
    if any_paired:
        paired.add_vline(x=0, line={"color": INK, "width": 1.5, "dash": "dot"})
        drawn.append(packed(paired, "Minus the reference on the same seed: left of the line is worse", height=height))
    return drawn


def _references(fig: Any, group: list[Entry]) -> None:
    """A line at the return of each reference; named where there is only one."""
    found = {(entry["evaluate"]["reference"], one["value"]) for entry in group if (one := figure(entry, "reference_return"))}
    for _, value in sorted(found):
        fig.add_vline(x=value, line={"color": INK, "width": 1.5, "dash": "dot"})
    ends = [
        end for entry in group for one in (figure(entry, "return"),) if one for end in (one["value"], one["low"], one["high"])
    ]
    drawn = [each for entry in group for each in entry["evaluate"]["returns"]] + [end for end in ends if end is not None]
    for reference, value in found if len(found) == 1 else ():
        low, high = min([value, *drawn]), max([value, *drawn])
        share = (value - low) / (high - low) if high > low else 0.5
        over(fig, f"reference {safe(reference, 24)}: {plain(value)}", value, share, INK)


def _dots(fig: Any, values: list[float], seeds: list[int], place: int, color: str, what: str) -> None:
    if not values:
        return
    named = seeds if len(seeds) == len(values) else list(range(len(values)))
    # a fixed, even jitter: dots of one artifact do not hide each other, and the page is the same every time
    fig.add_scatter(
        x=list(values), y=[place + 0.26 * (((7 * i) % 11) / 5 - 1) for i in range(len(values))], mode="markers",
        marker={"color": color, "size": 6, "opacity": 0.4}, customdata=named,
        hovertemplate=f"{what} %{{x:,.1f}}, seed %{{customdata}}<extra></extra>",
    )  # fmt: skip


def _mean(fig: Any, one: dict[str, Any] | None, place: int, color: str) -> None:
    if one is None:
        return
    up, down = spread(one)
    ends = f", {plain(one['low'])} … {plain(one['high'])}" if up or down else ""
    fig.add_scatter(
        x=[one["value"]], y=[place], mode="markers",
        marker={"color": color, "size": 12, "symbol": "line-ns", "line": {"width": 3, "color": color}},
        error_x={"type": "data", "array": [up], "arrayminus": [down], "thickness": 3, "width": 9, "color": color},
        hovertemplate=f"mean {plain(one['value'])}{ends}<extra></extra>",
    )  # fmt: skip
