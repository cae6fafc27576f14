"""What every plot shares: escaped names, error bars, logarithmic time axes, limits that are drawn or written at the edge.

Names come from strangers: every text that Plotly could read as markup is escaped here.
"""

from __future__ import annotations

import html
import math
import textwrap
from collections.abc import Sequence
from typing import Any

from .compare import Entry
from .numerals import duration, shortened, times
from .palette import ALERT

Plot = dict[str, Any]
"""caption: str; wide: bool (takes the whole row); height: px; figure: {"data": [...], "layout": {...}}."""

NEAR = 30.0
"""A limit within this factor of the data is drawn as a line; a farther one is written at the edge."""
LETTER, NARROW = 6.6, 230.0
"""Pixels: of a letter of 12 px, a little more than the mean; and across a plot without its axis, on a telephone."""
LINE_LETTERS = int(NARROW / LETTER)
"""A longer text over a plot is broken, so that it fits wherever its page is read."""
LEGEND_BELOW = {"orientation": "h", "x": 0, "xanchor": "left", "y": 0, "yref": "container", "yanchor": "bottom"}
LEGEND_ABOVE = {"orientation": "h", "x": 0, "xanchor": "left", "y": 1.02, "yanchor": "bottom"}


def packed(fig: Any, caption: str, *, height: int, wide: bool = False) -> Plot:
    """A finished figure without Plotly's own theme, which the page replaces."""
    drawn = fig.to_plotly_json()
    drawn["layout"].pop("template", None)
    return {"caption": caption, "height": height, "wide": wide, "figure": {"data": drawn["data"], "layout": drawn["layout"]}}


def safe(text: str, limit: int = 40) -> str:
    """Untrusted text for a label: shortened, and without a meaning to Plotly's markup."""
    return html.escape(shortened(text, limit))


def name(entry: Entry) -> str:
    """An artifact within the plot of its target."""
    return f"{safe(entry['name'], 26)} · {safe(entry['backend_name'])} {safe(entry['precision'])}"


def names(entries: Sequence[Entry]) -> list[str]:
    """The same for a plot with a row per artifact: all different, since rows of one name would be drawn as one."""
    short = [name(entry) for entry in entries]
    return [safe(entry["label"], 44) if short.count(one) > 1 else one for entry, one in zip(entries, short, strict=True)]


def name_in_two_lines(entry: Entry) -> str:
    """An artifact on an axis that holds several targets."""
    place = f"{safe(entry['target']['name'], 22)} · {safe(entry['backend_name'])} {safe(entry['precision'])}"
    return f"{safe(entry['name'], 26)}<br><i>{place}</i>"


def spread(one: dict[str, Any]) -> tuple[float, float]:
    """(up, down) for error bars; 0 where there is no spread."""
    up = max(one["high"] - one["value"], 0) if one["high"] is not None else 0
    return up, max(one["value"] - one["low"], 0) if one["low"] is not None else 0


def time_axis(low: float, high: float, text: str) -> dict[str, Any]:
    """A logarithmic axis from 10**low to 10**high µs whose ticks are read without a calculator."""
    steps = (1, 2, 5) if high - low < 1.7 else (1, 3) if high - low < 2.6 else (1,)
    powers = range(math.floor(low), math.ceil(high) + 1)
    ticks = [step * 10.0**power for power in powers for step in steps if low <= math.log10(step * 10.0**power) <= high]
    return {
        "type": "log",
        "range": [low, high],
        "tickvals": ticks,
        "ticktext": [duration(tick) for tick in ticks],
        "title": {"text": f"{text} (logarithmic)"},
    }


def over(fig: Any, text: str, x: float | None, share: float, color: str) -> None:
    """Write ``text`` above the plot, over its place ``x``, wholly inside: centered where there is room, else at the nearer edge.

    ``share``: where x lies between the axis' left end (0) and its right one (1), about. ``x`` None: at the edge in any case.
    """
    lines = textwrap.wrap(text, LINE_LETTERS, break_long_words=False, break_on_hyphens=False) or [text]
    half = max(map(len, lines)) * LETTER / 2 / NARROW
    if x is not None and half <= share <= 1 - half:
        place: dict[str, Any] = {"x": x}
    else:
        place = {"xref": "paper", "x": 1, "xanchor": "right"} if share > 0.5 else {"xref": "paper", "x": 0, "xanchor": "left"}
    fig.add_annotation(
        text="<br>".join(lines), showarrow=False, font={"color": color, "size": 12}, y=1, yref="paper", yanchor="bottom", **place
    )
    if len(lines) > 1:
        fig.update_layout(margin={"t": 14 + 16 * len(lines)})


def with_deadline(fig: Any, deadline_us: float | None, low: float, high: float, slowest: float) -> tuple[float, float]:
    """Mark the deadline over an axis for ``low`` to ``high`` µs, and say how far it is from ``slowest``.

    Returns the range of exponents that shows the data, and the deadline where it is near.
    """
    left, right = math.log10(low) - 0.3, math.log10(high) + 0.3
    if not deadline_us:
        return left, right
    at, text = math.log10(deadline_us), f"deadline {duration(deadline_us)}"
    if left - 1 <= at <= math.log10(high * NEAR):
        fig.add_vline(x=deadline_us, line={"color": ALERT, "width": 2, "dash": "dash"})
        left, right = min(left, at - 0.15), max(right, at + 0.25)
        over(fig, text, at, (at - left) / (right - left), ALERT)
    elif at > right:
        over(fig, f"{text}: {times(deadline_us / slowest)}× later →", None, 1, ALERT)
    else:
        over(fig, f"← {text}", None, 0, ALERT)
    return left, right
