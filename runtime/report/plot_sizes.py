"""Sizes: flash and RAM, or the deployed files where the device has no such limits."""

from __future__ import annotations

from typing import Any

from .canvas import LEGEND_ABOVE, Plot, names, packed
from .compare import Entry, stored_bytes
from .numerals import size
from .palette import FLASH, RAM

LIMITS = {"flash": "flash_bytes", "RAM": "ram_bytes"}
"""Name for people -> field of the target's memory."""


def sizes(go: Any, group: list[Entry], rows: int) -> Plot | None:
    """Bars for the artifacts of one target; ``rows`` is the largest number of artifacts of any target, for equal heights."""
    fig, ordered = go.Figure(), list(reversed(group))
    named = names(ordered)
    bars = {kind: [stored_bytes(entry, kind) for entry in ordered] for kind in ("ram", "flash")}
    if not any(bars["flash"]):
        bars = {"artifact": [stored_bytes(entry, "artifact") for entry in ordered]}
    for kind, values in bars.items():
        known = [(row, value) for row, value in zip(named, values, strict=True) if value is not None]
        label = {"ram": "RAM", "flash": "flash", "artifact": "deployed files"}[kind]
        if known:
            fig.add_bar(
                x=[value / 1024 for _, value in known], y=[text for text, _ in known], orientation="h", name=label,
                marker={"color": RAM if kind == "ram" else FLASH, "opacity": 0.55 if kind == "ram" else 0.95},
                text=[f"{size(value)}{' RAM' if kind == 'ram' else ''}" for _, value in known], textposition="auto",
                hovertemplate=f"%{{y}}: %{{text}} {label}<extra></extra>",
            )  # fmt: skip
    if not fig.data:
        return None
    fig.update_layout(
        xaxis={"title": {"text": "KiB"}, "rangemode": "tozero", "nticks": 6}, yaxis={"type": "category"},
        barmode="group", bargap=0.3, showlegend=len(fig.data) > 1, legend=LEGEND_ABOVE | {"traceorder": "reversed"},
    )  # fmt: skip
    target = group[0]["target"]
    limits = [f"{size(target['memory'][field])} of {label}" for label, field in LIMITS.items() if target["memory"][field]]
    has = f"the device has {' and '.join(limits)}" if limits else "the profile sets no limit"
    return packed(fig, f"{target['name']}: {has}", height=130 + 52 * rows)
