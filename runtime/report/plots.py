"""The plots, as Plotly figures in plain JSON; the page adds theme, fonts and size.

Names come from strangers: every text that Plotly could read as markup is escaped here.
"""

from __future__ import annotations

import html
import math
from typing import Any

from ...errors import require
from .compare import Entry, deployed_size, figure, typical_latency
from .glossary import title
from .numerals import duration, plain, shortened, size, times
from .palette import ALERT, FLASH, INK, RAM, SERIES, SLATE, SYMBOLS, policy_colors

Plot = dict[str, Any]
"""caption: str; wide: bool (takes the whole row); height: px; figure: {"data": [...], "layout": {...}}."""

NEAR = 30.0
"""A limit within this factor of the data is drawn as a line; a farther one is written at the edge."""


def plots(report: dict[str, Any]) -> dict[str, list[Plot]]:
    """Section name -> its plots; a section without data has none."""
    go = require("plotly.graph_objects", "report")
    entries, colors = report["artifacts"], policy_colors(report["policies"])
    drawn = {
        "tradeoff": [_tradeoff(go, group, colors) for group in _by_target(entries)],
        "returns": [plot for group in _by_env(entries) for plot in _returns(go, group, colors)],
        "latency": _latency(go, entries, colors),
        "sizes": [_sizes(go, group) for group in _by_target(entries)],
        "parity": [_parity(go, entries, colors)],
    }
    return {section: [plot for plot in section_plots if plot] for section, section_plots in drawn.items()}


def _by_target(entries: list[Entry]) -> list[list[Entry]]:
    groups: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        groups.setdefault((entry["target"]["name"], entry["target"]["link"]["kind"]), []).append(entry)
    return list(groups.values())


def _by_env(entries: list[Entry]) -> list[list[Entry]]:
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        if entry["evaluate"]:
            groups.setdefault(entry["evaluate"]["env"] or entry["env"] or "", []).append(entry)
    return list(groups.values())


def _plot(fig: Any, caption: str, *, height: int = 340, wide: bool = False) -> Plot:
    drawn = fig.to_plotly_json()
    drawn["layout"].pop("template", None)
    return {"caption": caption, "height": height, "wide": wide, "figure": {"data": drawn["data"], "layout": drawn["layout"]}}


def _safe(text: str, limit: int = 40) -> str:
    return html.escape(shortened(text, limit))


def _name(entry: Entry) -> str:
    return f"{_safe(entry['name'], 28)} · {_safe(entry['backend_name'])} {_safe(entry['precision'])}"


def _spread(one: dict[str, Any]) -> tuple[float, float]:
    """(up, down) for error bars; 0 where there is no spread."""
    up = max(one["high"] - one["value"], 0) if one["high"] is not None else 0
    return up, max(one["value"] - one["low"], 0) if one["low"] is not None else 0


def _limit(fig: Any, value: float, text: str, low: float, high: float) -> list[float]:
    """Draw a limit on the logarithmic x axis and return the range (of exponents) that shows it."""
    low, high = math.log10(low) - 0.25, math.log10(high) + 0.35
    at = math.log10(value)
    if low - 1 <= at <= high + math.log10(NEAR):
        fig.add_vline(x=value, line={"color": ALERT, "width": 2, "dash": "dash"})
        high = max(high, at + 0.12)
        fig.add_annotation(
            x=at, y=1, yref="paper", yanchor="bottom", text=text, showarrow=False, font={"color": ALERT, "size": 12}
        )
        return [min(low, at - 0.1), high]
    side = f"{times(value / 10**high)}× beyond the right edge →" if at > high else "← left of the edge"
    fig.add_annotation(
        x=1, xref="paper", y=1, yref="paper", xanchor="right", yanchor="bottom",
        text=f"{text} {side}", showarrow=False, font={"color": ALERT, "size": 12},
    )  # fmt: skip
    return [low, high]


def _tradeoff(go: Any, group: list[Entry], colors: dict[str, str]) -> Plot | None:
    """Return (or size, where nothing was flown) over typical latency, one panel per target."""
    key = typical_latency(*group) or next((k for entry in group if (k := typical_latency(entry))), None)
    shown = [entry for entry in group if key and figure(entry, key)]
    flown = [entry for entry in shown if figure(entry, "return")]
    upright = "return" if flown else deployed_size(*shown) if shown else None
    shown = flown or shown
    if not shown or key is None or upright is None:
        return None
    fig = go.Figure()
    largest = max((_bytes(entry) or 0 for entry in shown), default=0)
    ranked = sorted(shown, key=lambda entry: figure(entry, upright)["value"])  # type: ignore[index]
    for rank, entry in enumerate(ranked):
        x, y, room = figure(entry, key), figure(entry, upright), _bytes(entry)
        assert x and y  # narrowed above: only artifacts that have both are shown
        right, left = _spread(x)
        up, down = _spread(y)
        value = size(y["value"]) if y["unit"] == "bytes" else plain(y["value"])
        fig.add_scatter(
            x=[x["value"]], y=[y["value"]], mode="markers+text", text=[_name(entry)], showlegend=False,
            textposition="top center" if rank % 2 else "bottom center", textfont={"size": 12}, cliponaxis=False,
            error_x={"type": "data", "array": [right], "arrayminus": [left], "thickness": 1.2, "width": 4},
            error_y={"type": "data", "array": [up], "arrayminus": [down], "thickness": 1.2, "width": 4},
            marker={
                "symbol": SYMBOLS[x["source"]], "color": colors[entry["policy"]], "opacity": 0.85,
                "size": 10 + 26 * math.sqrt((room or 0) / largest) if largest else 14, "line": {"width": 2, "color": colors[entry["policy"]]},
            },
            hovertemplate=f"<b>{_safe(entry['label'], 60)}</b><br>{title(upright)}: {value}<br>{title(key)}: {duration(x['value'])} "
            f"({x['source']})<br>Size: {size(room)}<extra></extra>",
        )  # fmt: skip
    for source in sorted({figure(entry, key)["source"] for entry in shown}):  # type: ignore[index]
        fig.add_scatter(
            x=[None], y=[None], mode="markers", name=f"latency {source}",
            marker={"symbol": SYMBOLS[source], "size": 11, "color": SLATE, "line": {"width": 2, "color": SLATE}},
        )  # fmt: skip
    values = [figure(entry, key)["value"] for entry in shown]  # type: ignore[index]
    deadline = next((entry["bench"]["deadline_us"] for entry in shown if entry["bench"]["deadline_us"]), None)
    x_axis: dict[str, Any] = {"type": "log", "title": {"text": f"{title(key)} (µs, logarithmic)"}}
    if min(values) > 0 and deadline:
        x_axis["range"] = _limit(fig, deadline, f"deadline {duration(deadline)}", min(values), max(values))
    elif min(values) > 0:
        x_axis["range"] = [math.log10(min(values)) - 0.3, math.log10(max(values)) + 0.3]
    heights = [side for entry in shown if (y := figure(entry, upright)) for side in (y["value"], y["low"], y["high"]) if side is not None]
    pad = (max(heights) - min(heights)) * 0.28 or abs(max(heights)) * 0.1 or 1
    fig.update_layout(
        xaxis=x_axis,
        yaxis={"title": {"text": f"{title(upright)}{' (bytes)' if upright != 'return' else ''}"}, "range": [min(heights) - pad, max(heights) + pad]},
        showlegend=True, legend={"orientation": "h", "y": 1.16, "x": 0},
    )  # fmt: skip
    target = group[0]["target"]
    how = "on a virtual board" if target["link"]["kind"] == "virtual" else "on this machine"
    return _plot(fig, f"{target['name']}, {how}", height=400)


def _bytes(entry: Entry) -> float | None:
    key = deployed_size(entry)
    one = figure(entry, key) if key else None
    return one["value"] if one else None


def _returns(go: Any, group: list[Entry], colors: dict[str, str]) -> list[Plot]:
    """Return per artifact with its episodes, and the same seed by seed against the reference."""
    env = group[0]["evaluate"]["env"] or "its environment"
    ordered = list(reversed(group))
    height = 130 + 46 * len(group)
    names = {entry["id"]: f"{_safe(entry['label'], 44)}" for entry in group}
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
    references = {(entry["evaluate"]["reference"], one["value"]) for entry in group if (one := figure(entry, "reference_return"))}
    for name, value in sorted(references):
        absolute.add_vline(x=value, line={"color": INK, "width": 1.5, "dash": "dot"})
        if len(references) == 1:
            absolute.add_annotation(
                x=value, y=1, yref="paper", yanchor="bottom", showarrow=False, font={"size": 12, "color": INK},
                text=f"reference {_safe(name, 24)}: {plain(value)}",
            )  # fmt: skip
    axis = {"tickvals": list(range(len(ordered))), "ticktext": [names[entry["id"]] for entry in ordered]}
    for fig, text in ((absolute, "return per episode"), (paired, "return minus that of the reference, same seed")):
        fig.update_layout(
            xaxis={"title": {"text": text}}, yaxis=axis | {"range": [-0.6, len(ordered) - 0.4], "zeroline": False}, showlegend=False
        )
    drawn = [_plot(absolute, f"Return in {env}: each dot is an episode, the bar is the 95 % interval of the mean", height=height)]
    if any_paired:
        paired.add_vline(x=0, line={"color": INK, "width": 1.5, "dash": "dot"})
        caption = "Paired with the reference, seed by seed: left of the line is worse"
        drawn.append(_plot(paired, caption, height=height))
    return drawn if any(entry["evaluate"]["returns"] or figure(entry, "return") for entry in group) else []


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
    up, down = _spread(one)
    fig.add_scatter(
        x=[one["value"]], y=[place], mode="markers", marker={"color": color, "size": 12, "symbol": "line-ns", "line": {"width": 3, "color": color}},
        error_x={"type": "data", "array": [up], "arrayminus": [down], "thickness": 3, "width": 9, "color": color},
        hovertemplate=f"mean {plain(one['value'])}" + (f", {plain(one['low'])} … {plain(one['high'])}" if up or down else "") + "<extra></extra>",
    )  # fmt: skip


def _latency(go: Any, entries: list[Entry], colors: dict[str, str]) -> list[Plot]:
    drawn: list[Plot | None] = []
    for group in _by_target(entries):
        timed = [entry for entry in group if entry["bench"] and entry["bench"]["histograms"]]
        edges = [edge for entry in timed for h in entry["bench"]["histograms"].values() for edge in _bounds(h)]
        drawn += [_histogram(go, entry, colors[entry["policy"]], min(edges), max(edges)) for entry in timed if edges]
        drawn.append(_cycles(go, [entry for entry in group if figure(entry, "cycles")], colors))
    return [plot for plot in drawn if plot]


def _bounds(histogram: dict[str, Any]) -> tuple[float, ...]:
    """Outer edges of the bins that hold anything, above zero."""
    edges, filled = histogram["edges_us"], [i for i, number in enumerate(histogram["counts"]) if number]
    if not filled:
        return ()
    left = edges[filled[0]]
    right = edges[filled[-1] + 1]
    return (left if left > 0 else right / 2, right) if right > 0 else ()


def _histogram(go: Any, entry: Entry, color: str, low: float, high: float) -> Plot | None:
    """Share of decisions per bin, both axes logarithmic, so that the tail can be seen."""
    fig, least = go.Figure(), 100.0
    for name, histogram in entry["bench"]["histograms"].items():
        total = sum(histogram["counts"])
        if not total:
            continue
        shares = [100 * number / total for number in histogram["counts"]]
        least = min([least, *(share for share in shares if share > 0)])
        edges = [edge if edge > 0 else low / 2 for edge in histogram["edges_us"]]
        heights = [share if share else 1e-9 for share in shares]
        tight = name == "tight"
        fig.add_scatter(
            x=edges, y=[*heights, 1e-9], mode="lines", name=_safe(name), fill="tozeroy" if not tight else "none",
            line={"shape": "hv", "width": 1.5, "color": SLATE if tight else color, "dash": "dot" if tight else "solid"},
            hovertemplate=f"{_safe(name)}: %{{y:.3g}} % of {total:,} decisions at %{{x:.4g}} µs<extra></extra>",
        )  # fmt: skip
    if not fig.data:
        return None
    deadline = entry["bench"]["deadline_us"]
    x_axis: dict[str, Any] = {"type": "log", "title": {"text": "latency of a decision (µs, logarithmic)"}}
    x_axis["range"] = [math.log10(low) - 0.1, math.log10(high) + 0.1]
    if deadline:
        x_axis["range"] = _limit(fig, deadline, f"deadline {duration(deadline)}", low, high)
    fig.update_layout(
        xaxis=x_axis,
        yaxis={
            "type": "log", "title": {"text": "% of decisions"}, "range": [math.log10(least) - 0.3, 2.05],
            "tickvals": [100, 10, 1, 0.1, 0.01, 0.001, 0.0001], "ticktext": ["100", "10", "1", "0.1", "0.01", "0.001", "0.0001"],
        },
        showlegend=True, legend={"orientation": "h", "y": 1.2, "x": 0},
    )  # fmt: skip
    return _plot(fig, f"{entry['label']} ({entry['precision']})", height=300)


def _cycles(go: Any, group: list[Entry], colors: dict[str, str]) -> Plot | None:
    if not group:
        return None
    fig, ordered = go.Figure(), list(reversed(group))
    names = [_name(entry) for entry in ordered]
    cycles = [figure(entry, "cycles") for entry in ordered]
    spreads = [_spread(one) for one in cycles if one]
    fig.add_bar(
        x=[one["value"] for one in cycles if one], y=names, orientation="h", name="cycles, whiskers: band of the model",
        marker={"color": [colors[entry["policy"]] for entry in ordered], "opacity": 0.8}, width=0.5,
        error_x={"type": "data", "array": [up for up, _ in spreads], "arrayminus": [down for _, down in spreads], "thickness": 2, "width": 7, "color": INK},
        hovertemplate="%{y}: %{x:,.0f} cycles<extra></extra>",
    )  # fmt: skip
    counted = [(name, one["value"]) for name, entry in zip(names, ordered, strict=True) if (one := figure(entry, "instructions"))]
    if counted:
        fig.add_scatter(
            x=[value for _, value in counted], y=[name for name, _ in counted], mode="markers", name="instructions (exact)",
            marker={"symbol": "line-ns", "size": 22, "line": {"width": 3, "color": INK}, "color": INK},
            hovertemplate="%{y}: %{x:,.0f} instructions<extra></extra>",
        )  # fmt: skip
    clock, deadline = group[0]["target"]["cpu"]["clock_hz"], group[0]["bench"]["deadline_us"]
    allowed = clock * deadline / 1e6 if clock and deadline else None
    most = max([one["high"] or one["value"] for one in cycles if one], default=0)
    note = ""
    if allowed and allowed <= 2 * most:
        fig.add_vline(x=allowed, line={"color": ALERT, "width": 2, "dash": "dash"})
        note = "; dashed: the deadline"
    elif allowed:
        note = f"; the deadline allows {allowed:,.0f}"
    fig.update_layout(
        xaxis={"title": {"text": "per decision"}, "rangemode": "tozero"}, yaxis={"type": "category"},
        showlegend=True, legend={"orientation": "h", "y": 1.02, "x": 0, "yanchor": "bottom"},
    )  # fmt: skip
    target = group[0]["target"]
    text = f"{target['name']}: cycles ({cycles[0]['source'] if cycles[0] else ''}){note}"
    return _plot(fig, text, height=150 + 44 * len(group), wide=len(group) > 3)


def _sizes(go: Any, group: list[Entry]) -> Plot | None:
    fig, ordered = go.Figure(), list(reversed(group))
    memory = group[0]["target"]["memory"]
    anything, largest = False, 0.0
    kinds = (("RAM", "ram_bytes", "ram", RAM), ("flash", "flash_bytes", "flash", FLASH))
    bars = {name: [_stored(entry, key, static) for entry in ordered] for name, key, static, _ in kinds}
    if not any(bars["flash"]):
        bars = {"deployed files": [_stored(entry, "artifact_bytes", "") for entry in ordered]}
    for name, values in bars.items():
        known = [(_name(entry), value) for entry, value in zip(ordered, values, strict=True) if value is not None]
        if not known:
            continue
        anything, largest = True, max([largest, *(value for _, value in known)])
        fig.add_bar(
            x=[value / 1024 for _, value in known], y=[label for label, _ in known], orientation="h", name=name,
            marker={"color": RAM if name == "RAM" else FLASH, "pattern": {"shape": "/" if name == "RAM" else "", "solidity": 0.25}},
            text=[size(value) for _, value in known], textposition="auto", hovertemplate=f"%{{y}}: %{{text}} {name}<extra></extra>",
        )  # fmt: skip
    if not anything:
        return None
    limits = [f"{size(memory[key])} {name}" for name, key, _, _ in reversed(kinds) if memory[key]]
    fig.update_layout(
        xaxis={"title": {"text": "KiB"}, "rangemode": "tozero"}, yaxis={"type": "category"}, barmode="group", bargap=0.3,
        showlegend=len(fig.data) > 1, legend={"orientation": "h", "y": 1.02, "x": 0, "yanchor": "bottom", "traceorder": "reversed"},
    )  # fmt: skip
    has = f"the device has {' and '.join(limits)}" if limits else "no limit set by the profile"
    return _plot(fig, f"{group[0]['target']['name']}: {has}", height=140 + 52 * len(group))


def _stored(entry: Entry, key: str, static: str) -> float | None:
    one = figure(entry, key)
    return one["value"] if one else entry["sizes"].get(static)


def _parity(go: Any, entries: list[Entry], colors: dict[str, str]) -> Plot | None:
    fig, tolerances = go.Figure(), set()
    dashes = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")
    drawn = [entry for entry in entries if entry["verify"] and any(entry["verify"]["error_by_step"])]
    for position, entry in enumerate(drawn):
        errors = entry["verify"]["error_by_step"]
        stride = max(1, len(errors) // 1000)
        steps = entry["verify"]["steps"] or len(errors)
        places = range(0, len(errors), stride)
        fig.add_scatter(
            x=[round(i * (steps - 1) / max(len(errors) - 1, 1)) for i in places], y=[errors[i] or None for i in places],
            mode="lines", name=_safe(entry["label"], 50), connectgaps=False,
            line={"color": colors[entry["policy"]] if len(drawn) <= 4 else SERIES[position % len(SERIES)], "width": 1.6,
                  "dash": dashes[position % len(dashes)]},
            hovertemplate="step %{x}: %{y:.2e}<extra></extra>",
        )  # fmt: skip
        if entry["verify"]["tolerance"]:
            tolerances.add(entry["verify"]["tolerance"])
    if not fig.data:
        return None
    for tolerance in sorted(tolerances):
        fig.add_hline(y=tolerance, line={"color": ALERT, "width": 1.5, "dash": "dash"})
        fig.add_annotation(
            x=1, xref="paper", xanchor="right", y=math.log10(tolerance), yanchor="bottom", showarrow=False,
            text=f"tolerance {plain(tolerance, 2)}", font={"color": ALERT, "size": 12},
        )  # fmt: skip
    fig.update_layout(
        xaxis={"title": {"text": "step of the golden rollout"}},
        yaxis={"type": "log", "title": {"text": "largest action error"}, "exponentformat": "power"},
        showlegend=True, legend={"orientation": "h", "y": -0.22, "x": 0},
    )  # fmt: skip
    return _plot(fig, "Action error against the float32 reference, step by step; exact zeros are left out", height=380, wide=True)
