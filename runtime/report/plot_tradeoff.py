"""Return over latency, the marker as large as the artifact: one panel per target."""

from __future__ import annotations

import math
from typing import Any

from .canvas import LEGEND_BELOW, LETTER, LINE_LETTERS, Plot, name, packed, safe, spread, time_axis, with_deadline
from .compare import Entry, deployed_size, figure, typical_latency
from .glossary import title
from .numerals import duration, size, with_unit
from .palette import INK, SLATE, SYMBOLS

PANEL = (430.0, 250.0)
"""About how many pixels the points have to lie in; only the placing of labels needs it."""
MAX_NAMED = 6
"""With more points than this, names stand in the legend and numbers at the points."""
Box = tuple[float, float, float, float]
"""left, bottom, right, top in pixels."""


def tradeoff(go: Any, group: list[Entry], colors: dict[str, str]) -> Plot | None:
    """Return (or size, where nothing was flown) over typical latency for the artifacts of one target."""
    key = typical_latency(*group) or next((k for entry in group if (k := typical_latency(entry))), None)
    timed = [entry for entry in group if key and _positive(entry, key)]
    flown = [entry for entry in timed if figure(entry, "return")]
    upright = "return" if flown else deployed_size(*timed) if timed else None
    shown = flown or timed
    if not shown or key is None or upright is None:
        return None
    fig = go.Figure()
    largest = max((_bytes(entry) or 0 for entry in shown), default=0)
    radius = {e["id"]: 5 + 12 * math.sqrt((_bytes(e) or 0) / largest) if largest else 7 for e in shown}
    points = [(entry, figure(entry, key), _in_kib(figure(entry, upright))) for entry in shown]
    latencies = [x["value"] for _, x, _ in points if x]
    deadline = next((entry["bench"]["deadline_us"] for entry in shown if entry["bench"]["deadline_us"]), None)
    across = with_deadline(fig, deadline, min(latencies), max(latencies), max(latencies))
    upward = _padded([side for _, _, y in points if y for side in (y["value"], y["low"], y["high"]) if side is not None])
    crowded = len(points) > MAX_NAMED
    for number, (entry, x, y) in enumerate(points, start=1):
        assert x and y  # narrowed above: only artifacts that have both are shown
        (right, left), (up, down) = spread(x), spread(y)
        value = with_unit(y["value"], y["unit"])
        fig.add_scatter(
            x=[x["value"]], y=[y["value"]], mode="markers+text" if crowded else "markers",
            name=f"<b>{number}</b>  {name(entry)}", showlegend=crowded, text=[f"<b>{number}</b>"], textposition="top center",
            error_x={"type": "data", "array": [right], "arrayminus": [left], "thickness": 1.2, "width": 4},
            error_y={"type": "data", "array": [up], "arrayminus": [down], "thickness": 1.2, "width": 4},
            marker={
                "symbol": SYMBOLS[x["source"]], "color": colors[entry["policy"]], "opacity": 0.85,
                "size": 2 * radius[entry["id"]], "line": {"width": 2, "color": colors[entry["policy"]]},
            },
            hovertemplate=f"<b>{safe(entry['label'], 60)}</b><br>{title(upright)}: {value}<br>"
            f"{title(key)}: {duration(x['value'])} ({x['source']})<br>Size: {size(_bytes(entry))}<extra></extra>",
        )  # fmt: skip
    places = [
        ((math.log10(x["value"]) - across[0]) / (across[1] - across[0]) * PANEL[0],
         (y["value"] - upward[0]) / (upward[1] - upward[0]) * PANEL[1], radius[entry["id"]], _width(_label(entry)))
        for entry, x, y in points if x and y
    ]  # fmt: skip
    for (entry, x, y), (side, shift) in zip(points, _label_places(places), strict=True) if not crowded else ():
        assert x and y
        reach = 0.75 * radius[entry["id"]] + 3
        fig.add_annotation(
            x=math.log10(x["value"]), y=y["value"], text=_label(entry), showarrow=False, font={"size": 12, "color": INK},
            align="left", xanchor={1: "left", 0: "center", -1: "right"}[side], xshift=side * reach, yshift=shift * (reach + 6),
        )  # fmt: skip
    for source in sorted({x["source"] for _, x, _ in points if x}):
        fig.add_scatter(
            x=[None], y=[None], mode="markers", name=f"latency {source}",
            marker={"symbol": SYMBOLS[source], "size": 11, "color": SLATE, "line": {"width": 2, "color": SLATE}},
        )  # fmt: skip
    unit = "" if upright == "return" else " (KiB)"
    fig.update_layout(
        xaxis=time_axis(*across, title(key)), yaxis={"title": {"text": title(upright) + unit}, "range": list(upward)},
        showlegend=True, legend=LEGEND_BELOW,
    )  # fmt: skip
    target = group[0]["target"]
    how = {"virtual": "on a virtual board", "local": "on this machine"}.get(target["link"]["kind"], "on the device")
    return packed(fig, f"{target['name']}, {how}", height=420 + 11 * len(points) * crowded, wide=crowded)


def _label(entry: Entry) -> str:
    """The name at a point; a long one in two lines, so that it fits beside a point anywhere."""
    whole = name(entry)
    return whole.replace(" · ", "<br>", 1) if len(whole) > LINE_LETTERS - 8 else whole


def _width(label: str) -> float:
    return max(map(len, label.split("<br>"))) * LETTER


def _in_kib(one: dict[str, Any] | None) -> dict[str, Any] | None:
    """A size in KiB, anything else as it is."""
    return (
        one | {"value": one["value"] / 1024, "unit": "KiB", "low": None, "high": None} if one and one["unit"] == "bytes" else one
    )


def _positive(entry: Entry, key: str) -> bool:
    one = figure(entry, key)
    return one is not None and one["value"] > 0


def _bytes(entry: Entry) -> float | None:
    key = deployed_size(entry)
    one = figure(entry, key) if key else None
    return one["value"] if one else None


def _padded(values: list[float]) -> tuple[float, float]:
    low, high = min(values), max(values)
    pad = (high - low) * 0.25 or abs(high) * 0.1 or 1.0
    return low - pad, high + pad


def _label_places(points: list[tuple[float, float, float, float]]) -> list[tuple[int, int]]:
    """For each (x, y, radius, label width): the (side, shift) whose box covers the least of markers and earlier labels."""
    markers: list[Box] = [(x - r, y - r, x + r, y + r) for x, y, r, _ in points]
    taken: list[Box] = []
    chosen = []
    for x, y, radius, width in points:
        reach = 0.75 * radius + 3

        def box(place: tuple[int, int], x: float = x, y: float = y, reach: float = reach, width: float = width) -> Box:
            side, shift = place
            left = x + side * reach - {1: 0.0, 0: width / 2, -1: width}[side]
            return left, y + shift * (reach + 6) - 8, left + width, y + shift * (reach + 6) + 8

        def cost(place: tuple[int, int]) -> float:
            own = box(place)
            outside = max(0.0, -own[0]) + max(0.0, own[2] - PANEL[0])
            return sum(_overlap(own, other) for other in (*markers, *taken)) + 40 * outside + 5 * abs(place[1])

        places = [(1, 1), (-1, 1), (1, -1), (-1, -1), (1, 2), (-1, 2), (1, -2), (-1, -2), (0, 2), (0, -2)]
        best = min(places, key=cost)
        taken.append(box(best))
        chosen.append(best)
    return chosen


def _overlap(one: Box, other: Box) -> float:
    wide = min(one[2], other[2]) - max(one[0], other[0])
    high = min(one[3], other[3]) - max(one[1], other[1])
    return max(wide, 0) * max(high, 0)
