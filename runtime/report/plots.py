"""All plots of a report, by section, as Plotly figures in plain JSON; the page adds theme, fonts and width."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...errors import require
from .canvas import Plot
from .compare import Entry
from .palette import policy_colors
from .plot_latency import latency
from .plot_parity import parity
from .plot_returns import returns
from .plot_sizes import sizes
from .plot_soak import soaks
from .plot_tradeoff import tradeoff


def plots(report: dict[str, Any]) -> dict[str, list[Plot]]:
    """Section name -> its plots; a section without data has none. Raises MissingTool without the ``report`` extra."""
    go = require("plotly.graph_objects", "report")
    entries, colors = report["artifacts"], policy_colors(report["policies"])
    targets = _grouped(entries, lambda entry: (entry["target"]["name"], entry["target"]["link"]["kind"]))
    flown = [entry for entry in entries if entry["evaluate"]]
    envs = _grouped(flown, lambda entry: entry["evaluate"]["env"] or entry["env"] or "")
    rows = max(len(group) for group in targets)
    drawn: dict[str, list[Plot | None]] = {
        "tradeoff": [tradeoff(go, group, colors) for group in targets],
        "returns": [plot for group in envs for plot in returns(go, group, colors)],
        "latency": [plot for group in targets for plot in latency(go, group, colors)],
        "soak": [plot for entry in entries for plot in soaks(go, entry, colors)],
        "sizes": [sizes(go, group, rows) for group in targets],
        "parity": [parity(go, entries)],
    }
    return {section: [plot for plot in found if plot] for section, found in drawn.items()}


def _grouped(entries: list[Entry], key: Callable[[Entry], Any]) -> list[list[Entry]]:
    groups: dict[Any, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(key(entry), []).append(entry)
    return list(groups.values())
