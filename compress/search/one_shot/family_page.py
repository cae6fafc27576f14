"""The page of a one-shot search: the front, the whole family, and how far one-shot returns can be trusted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from .... import __version__
from ....errors import require
from ....runtime.report.canvas import LEGEND_BELOW, Plot, packed, safe
from ....runtime.report.html import environment, frame
from ....runtime.report.palette import SERIES, SLATE

if TYPE_CHECKING:
    from .family_found import FamilyFound

TEMPLATES = Path(__file__).parent / "templates"


def render(found: FamilyFound) -> str:
    """search.html. Everything in ``found`` is text of strangers and is escaped."""
    go = require("plotly.graph_objects", "report")
    drawn = {"front": [_family(go, found)], "trust": [] if found.agreement is None else [_trust(go, found), _pareto(go, found)]}
    rows = [
        {
            "point": point, "name": point.surveyed.name, "pareto": index in found.pareto, "best": index == found.best,
            "size": point.figures.get("flash_bytes") or point.figures.get("artifact_bytes"),
        }
        for index, point in enumerate(found.points)
    ]  # fmt: skip
    return str(
        environment(TEMPLATES)
        .get_template("family.html.j2")
        .render(found=found, rows=rows, plots=drawn, version=__version__, lead=_lead(found), **frame(drawn))
    )


def _lead(found: FamilyFound) -> str:
    """What to take, in a sentence."""
    if found.best is None:
        return f"No proven architecture keeps {found.min_return:.0%} of the leader's return."
    best = found.points[found.best]
    return (
        f"{best.surveyed.name}, {best.surveyed.weights:,} weights, keeps {best.kept or 0:.1%} of the return of the leader "
        f"({found.leader['weights']:,} weights) over {best.figures['return']['samples']} fresh episodes and decides in "
        f"{best.cost or 0:.3g} µs on {found.target}."
    )


def _family(go: Any, found: FamilyFound) -> Plot:
    """Return over weights: all that were flown, those that were built, those that were proven."""
    fig = go.Figure()
    proven = {point.surveyed.name for point in found.points}
    groups = {
        "flown": ([one for one in found.surveyed if not one.costs], {"color": SLATE, "size": 6, "opacity": 0.5}),
        "built and timed": (
            [one for one in found.surveyed if one.costs and one.name not in proven], {"color": SERIES[1], "size": 7},
        ),
        "proven": (
            [one for one in found.surveyed if one.name in proven], {"color": SERIES[0], "size": 11, "symbol": "diamond"},
        ),
    }  # fmt: skip
    for name, (members, marker) in groups.items():
        fig.add_scatter(
            x=[one.weights for one in members], y=[one.mean for one in members], mode="markers", name=name, marker=marker,
            text=[safe(one.name, 60) for one in members],
            hovertemplate="<b>%{text}</b><br>returns %{y:,.4g}<br>%{x:,} weights<extra></extra>",
        )  # fmt: skip
    fig.add_scatter(
        x=[found.leader["weights"]], y=[found.leader["return"]], mode="markers", name="leader",
        marker={"color": SERIES[2], "size": 13, "symbol": "star"},
    )  # fmt: skip
    fig.update_layout(
        xaxis={"type": "log", "title": {"text": "Weights"}},
        yaxis={"title": {"text": "Mean return, one-shot"}},
        legend=LEGEND_BELOW,
    )
    return packed(fig, "The family: mean return in the episodes that choose, over weights", height=460, wide=True)


def _trust(go: Any, found: FamilyFound) -> Plot:
    """One-shot return over the return of the same architecture trained alone."""
    assert found.agreement is not None
    rows, fig = found.agreement.trained, go.Figure()
    values = [value for row in rows for value in (row.one_shot, row.alone)]
    fig.add_scatter(
        x=[min(values), max(values)], y=[min(values), max(values)], mode="lines", name="alike",
        line={"color": SLATE, "dash": "dot", "width": 1}, hoverinfo="skip",
    )  # fmt: skip
    fig.add_scatter(
        x=[row.alone for row in rows], y=[row.one_shot for row in rows], mode="markers", name="architectures",
        marker={"color": SERIES[0], "size": 9}, text=[safe(row.name, 60) for row in rows],
        hovertemplate="<b>%{text}</b><br>one-shot %{y:,.4g}<br>alone %{x:,.4g}<extra></extra>",
    )  # fmt: skip
    fig.update_layout(
        xaxis={"title": {"text": "Trained alone"}}, yaxis={"title": {"text": "One-shot"}}, legend=LEGEND_BELOW
    )  # fmt: skip
    return packed(fig, "Mean return one-shot, over that of the same architecture trained alone", height=340)


def _pareto(go: Any, found: FamilyFound) -> Plot:
    """Both over weights."""
    assert found.agreement is not None
    fig, rows = go.Figure(), sorted(found.agreement.trained, key=lambda row: row.weights)
    for number, (name, side) in enumerate((("one-shot", "one_shot"), ("trained alone", "alone"))):
        fig.add_scatter(
            x=[row.weights for row in rows], y=[getattr(row, side) for row in rows], mode="markers", name=name,
            marker={"color": SERIES[number], "size": 9}, text=[safe(row.name, 60) for row in rows],
            hovertemplate="<b>%{text}</b><br>%{y:,.4g}<br>%{x:,} weights<extra></extra>",
        )  # fmt: skip
    fig.update_layout(
        xaxis={"type": "log", "title": {"text": "Weights"}}, yaxis={"title": {"text": "Mean return"}}, legend=LEGEND_BELOW
    )
    return packed(fig, "The same architectures over weights, one-shot and trained alone", height=340)
