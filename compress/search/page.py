"""The page of a search: the front, what random search found for the same time, and how far the predictors can be trusted."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ... import __version__
from ...errors import require
from ...runtime.report.canvas import LEGEND_BELOW, Plot, packed, safe, time_axis
from ...runtime.report.html import environment, frame
from ...runtime.report.palette import ALERT, SERIES, SLATE

if TYPE_CHECKING:
    from .found import Found

TEMPLATES = Path(__file__).parent / "templates"
COLORS = {"search": SERIES[0], "random": SERIES[1]}


def render(found: Found) -> str:
    """search.html. Everything in ``found`` is text of strangers and is escaped."""
    go = require("plotly.graph_objects", "report")
    drawn = {"front": [_front(go, found)], "effort": [_effort(go, found, 0), _effort(go, found, 1)]}
    rows = [
        {
            "proof": proof, "name": proof.outcome.genome.name, "pareto": index in found.pareto, "best": index == found.best,
            "size": proof.figures.get("flash_bytes") or proof.figures.get("artifact_bytes"),
        }
        for index, proof in enumerate(found.proofs)
    ]  # fmt: skip
    return str(
        environment(TEMPLATES)
        .get_template("search.html.j2")
        .render(found=found, rows=rows, plots=drawn, version=__version__, lead=_lead(found), **frame(drawn))
    )


def _lead(found: Found) -> str:
    """What to take, in a sentence."""
    if found.best is None:
        return f"Nothing that was found keeps {found.min_return:.0%} of the return of {found.teacher}."
    best = found.proofs[found.best]
    own = found.teacher_costs.get("latency_us")
    times = f", {own['value'] / best.cost:,.1f} times as fast as {found.teacher} there" if own and best.cost else ""
    flown = best.figures["return"]["samples"]
    return (
        f"{best.outcome.genome.name} keeps {best.kept or 0:.1%} of the return over {flown} fresh episodes "
        f"and decides in {best.cost or 0:.3g} µs on {found.target}{times}; the {best.arm} arm found it."
    )


def _front(go: Any, found: Found) -> Plot:
    """What is kept over latency: all candidates faint, proven ones with their intervals."""
    fig, costs = go.Figure(), []
    for arm, data in found.arms.items():
        points = [point for point in data["points"] if point[0] > found.floor - 0.1]
        costs += [cost for _, cost in points]
        fig.add_scatter(
            x=[cost for _, cost in points], y=[kept for kept, _ in points], mode="markers", name=f"{arm}: candidates",
            marker={"color": COLORS[arm], "size": 6, "opacity": 0.35}, hoverinfo="skip",
        )  # fmt: skip
        proofs = [proof for proof in found.proofs if proof.arm == arm and proof.cost and proof.kept is not None]
        costs += [proof.cost for proof in proofs if proof.cost]
        spans = [_span(proof.figures.get("retained")) for proof in proofs]
        fig.add_scatter(
            x=[proof.cost for proof in proofs], y=[proof.kept for proof in proofs], mode="markers", name=f"{arm}: proven",
            error_y={"type": "data", "array": [up for up, _ in spans], "arrayminus": [down for _, down in spans]},
            marker={"color": COLORS[arm], "size": 11, "symbol": "diamond", "line": {"width": 2, "color": COLORS[arm]}},
            text=[safe(proof.outcome.genome.name, 60) for proof in proofs],
            hovertemplate="<b>%{text}</b><br>keeps %{y:.1%}<br>%{x:.3g} µs<extra></extra>",
        )  # fmt: skip
    own = found.teacher_costs.get("latency_us")
    if own:
        costs.append(own["value"])
        fig.add_scatter(
            x=[own["value"]], y=[1.0], mode="markers", name=safe(found.teacher),
            marker={"color": SLATE, "size": 12, "symbol": "star"},
        )  # fmt: skip
    fig.add_hline(y=found.min_return, line={"color": ALERT, "dash": "dot", "width": 1})
    low, high = (math.log10(side(costs)) for side in (min, max)) if costs else (0.0, 1.0)
    fig.update_layout(
        xaxis=time_axis(low - 0.1, high + 0.1, "Latency of a decision"), legend=LEGEND_BELOW,
        yaxis={"title": {"text": "Share of the return kept"}, "tickformat": ".0%"},
    )  # fmt: skip
    return packed(fig, f"Return kept over latency on {found.target}; the dotted line is what is wanted", height=460, wide=True)


def _effort(go: Any, found: Found, column: int) -> Plot:
    """Hypervolume over seconds (column 0) or candidates (column 1)."""
    fig, across = go.Figure(), ("Seconds spent by the arm", "Candidates")[column]
    for arm, data in found.arms.items():
        trace = [[0, 0, 0.0], *data["trace"]]
        fig.add_scatter(
            x=[row[column] for row in trace], y=[row[2] for row in trace], mode="lines", name=arm,
            line={"shape": "hv", "color": COLORS[arm], "width": 2},
        )  # fmt: skip
    fig.update_layout(xaxis={"title": {"text": across}}, yaxis={"title": {"text": "Hypervolume"}}, legend=LEGEND_BELOW)
    return packed(fig, f"Hypervolume over {across[0].lower()}{across[1:]}, by the returns that decided", height=340)


def _span(figure: dict[str, Any] | None) -> tuple[float, float]:
    if figure is None or figure["value"] is None or figure["low"] is None:
        return 0.0, 0.0
    return max(figure["high"] - figure["value"], 0.0), max(figure["value"] - figure["low"], 0.0)
