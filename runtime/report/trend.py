"""A figure over earlier runs as a picture of a few pixels: a line, a dot where it became worse or better, and the last run."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

WIDTH, HEIGHT, EDGE = 120.0, 30.0, 5.0
FEWEST = 3
"""Two runs stand in the table as numbers already."""


def trend(points: Sequence[dict[str, Any]]) -> str:
    """Inline SVG of a change's ``trend`` (see :func:`pilotfish.runtime.report.history.changes`); empty below FEWEST runs.

    Runs stand side by side at even distances; the picture spans from the least to the largest value, so it shows shape, not size.
    """
    if len(points) < FEWEST:
        return ""
    values = [float(point["value"]) for point in points]
    low, high = min(values), max(values)
    wide = (WIDTH - 2 * EDGE) / (len(values) - 1)
    tall = (HEIGHT - 2 * EDGE) / (high - low) if high > low else 0.0
    middle = HEIGHT / 2 if high == low else HEIGHT - EDGE
    places = [(EDGE + k * wide, middle - (value - low) * tall) for k, value in enumerate(values)]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    dots = []
    for k, ((x, y), point) in enumerate(zip(places, points, strict=True)):
        if point["mark"] != "none" or k == len(points) - 1:
            said = html.escape(f"{point['date']}: {point['text']}")
            dots.append(
                f'<circle class="{html.escape(point["mark"])}" cx="{x:.1f}" cy="{y:.1f}" r="3"><title>{said}</title></circle>'
            )
    label = html.escape(f"{len(points)} runs, from {points[0]['text']} to {points[-1]['text']}")
    return (
        f'<svg class="trend" viewBox="0 0 {WIDTH:g} {HEIGHT:g}" role="img" aria-label="{label}">'
        f'<polyline points="{line}"/>{"".join(dots)}</svg>'
    )
