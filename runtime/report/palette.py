"""Colors of policies and marks, for paper and for the dark; hue never carries a meaning alone."""

from __future__ import annotations

from typing import Any

SLATE, INK, ALERT = "#64748b", "#343a40", "#c92a2a"
FLASH, RAM = "#1864ab", "#7048e8"
SERIES = ("#0b7285", "#d9480f", "#6741d9", "#2b8a3e", "#c2255c", "#946c00", "#1971c2", "#7b4b2a")

DARK: dict[str, str] = {
    SLATE: "#94a3b8",
    INK: "#ced4da",
    ALERT: "#ff8787",
    FLASH: "#4dabf7",
    RAM: "#b197fc",
    **dict(zip(SERIES, ("#3bc9db", "#ff922b", "#9775fa", "#69db7c", "#f783ac", "#ffd43b", "#74c0fc", "#d0a97f"), strict=True)),
}
"""Light color -> the color that takes its place on a dark page."""

SYMBOLS: dict[str, str] = {"measured": "circle", "emulated": "diamond", "estimated": "square-open"}
"""Source of a figure -> its marker."""


def policy_colors(policies: list[dict[str, Any]]) -> dict[str, str]:
    """Policy id -> color: the first original is slate, everything else has a hue of its own while they last."""
    colors: dict[str, str] = {}
    hues = 0
    for policy in policies:
        if policy["role"] == "before" and SLATE not in colors.values():
            colors[policy["id"]] = SLATE
        else:
            colors[policy["id"]] = SERIES[hues % len(SERIES)]
            hues += 1
    return colors
