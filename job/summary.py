"""One line per proof, for the terminal and the step record."""

from __future__ import annotations

from typing import Any

from ..figure import Figure

_SHOWN = {
    "verify": ("max_abs_error", "agreement"),
    "bench": ("tight_p50_us", "paced_p99_us", "latency_us", "instructions", "flash_bytes", "ram_bytes"),
    "soak": ("soak_p50_us", "soak_p99_us", "soak_worst_us", "soak_misses", "soak_drift"),
    "evaluate": ("return", "reference_return", "retained", "fas", "fas_return"),
}
"""Proof -> the figures that say it best, where it has them."""


def one_line(proof: str, outcome: dict[str, Any]) -> str:
    """Such as "return 1,851 (measured), retained 0.98 (measured)"."""
    figures = {name: Figure(**value) for name, value in outcome["figures"].items()}
    parts = [
        f"{name.removesuffix('_us').removesuffix('_bytes').replace('_', ' ')} {figures[name].text()}"
        for name in _SHOWN[proof]
        if name in figures and figures[name].value is not None
    ]
    verdict = {True: "good", False: "NOT GOOD", None: ""}[outcome.get("passed", outcome.get("deadline_met"))]
    return ", ".join(part for part in (verdict, *parts) if part)
