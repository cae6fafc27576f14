"""Parity: how far the actions are from the reference along the golden rollout, so that a drift shows."""

from __future__ import annotations

import math
from typing import Any

from .canvas import LEGEND_BELOW, Plot, packed, safe
from .compare import Entry
from .numerals import plain
from .palette import ALERT, SERIES

STRETCHES = 80
"""The rollout is cut into at most so many stretches, and the worst error of each is drawn."""
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot")


def parity(go: Any, entries: list[Entry]) -> Plot | None:
    """One line per artifact whose verification kept errors above zero."""
    fig, tolerances = go.Figure(), set()
    drawn = [entry for entry in entries if entry["verify"] and any(entry["verify"]["error_by_step"])]
    for position, entry in enumerate(drawn):
        errors, tolerance = entry["verify"]["error_by_step"], entry["verify"]["tolerance"]
        steps = entry["verify"]["steps"] or len(errors)
        places, worst = _stretches(errors, steps)
        fig.add_scatter(
            x=places, y=worst, mode="lines+markers", name=safe(f"{entry['label']} ({entry['precision']})", 50), connectgaps=False,
            line={"color": SERIES[position % len(SERIES)], "width": 1.8, "dash": DASHES[position // len(SERIES) % len(DASHES)]},
            marker={"size": 4, "color": SERIES[position % len(SERIES)]},
            hovertemplate="about step %{x}: %{y:.2e}<extra></extra>",
        )  # fmt: skip
        if tolerance:
            tolerances.add(tolerance)
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
        yaxis={"type": "log", "title": {"text": "largest action error"}, "exponentformat": "power", "dtick": 1},
        showlegend=True, legend=LEGEND_BELOW,
    )  # fmt: skip
    caption = "Action error against the float32 reference along the golden rollout, the worst of each stretch"
    return packed(fig, caption, height=420 + 12 * max(0, len(drawn) - 4), wide=True)


def _stretches(errors: list[float | None], steps: int) -> tuple[list[int], list[float | None]]:
    """(middle step, worst error) of each stretch; None where every error is exactly zero."""
    wide = max(1, math.ceil(len(errors) / STRETCHES))
    places, worst = [], []
    for start in range(0, len(errors), wide):
        part = errors[start : start + wide]
        places.append(round((start + (len(part) - 1) / 2) * (steps - 1) / max(len(errors) - 1, 1)))
        worst.append(max((error for error in part if error), default=None))
    return places, worst
