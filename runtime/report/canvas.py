"""What every plot shares: escaped names, error bars, logarithmic time axes, limits that are drawn or written at the edge.

Names come from strangers: every text that Plotly could read as markup is escaped here.
"""

from __future__ import annotations

import html
import math
from typing import Any

from .compare import Entry
from .numerals import duration, shortened, times
from .palette import ALERT

Plot = dict[str, Any]
"""caption: str; wide: bool (takes the whole row); height: px; figure: {"data": [...], "layout": {...}}."""

NEAR = 30.0
"""A limit within this factor of the data is drawn as a line; a farther one is written at the edge."""
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


def with_deadline(fig: Any, deadline_us: float | None, low: float, high: float, slowest: float) -> tuple[float, float]:
    """Mark the deadline over an axis for ``low`` to ``high`` µs, and say how far it is from ``slowest``.

    Returns the range of exponents that shows the data, and the deadline where it is near.
    """
    left, right = math.log10(low) - 0.3, math.log10(high) + 0.3
    if not deadline_us:
        return left, right
    at, text = math.log10(deadline_us), f"deadline {duration(deadline_us)}"
    style: dict[str, Any] = {
        "showarrow": False,
        "font": {"color": ALERT, "size": 12},
        "y": 1,
        "yref": "paper",
        "yanchor": "bottom",
    }
    if left - 1 <= at <= math.log10(high * NEAR):
        fig.add_vline(x=deadline_us, line={"color": ALERT, "width": 2, "dash": "dash"})
        fig.add_annotation(x=at, text=text, **style)
        return min(left, at - 0.15), max(right, at + 0.25)
    where = f"{text}: {times(deadline_us / slowest)}× the slowest →" if at > right else f"← {text}"
    edge = "right" if at > right else "left"
    fig.add_annotation(x=1 if at > right else 0, xref="paper", xanchor=edge, text=where, **style)
    return left, right
