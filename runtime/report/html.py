"""The page: one file that works from a USB stick, asks no network and runs no script but its own."""

from __future__ import annotations

import base64
import functools
import gzip
import hashlib
import json
from pathlib import Path
from typing import Any

from ...errors import require
from . import numerals
from .canvas import Plot
from .compare import stored_bytes
from .glossary import METHODS, SOURCES
from .palette import DARK, policy_colors
from .plots import plots
from .trend import trend

TEMPLATES = Path(__file__).parent / "templates"
MARKS = {"good": "✓", "bad": "✗", "open": "?", "none": numerals.NOTHING}
"""Mark -> sign; the word stands beside it, so that neither color nor sign carries a verdict alone."""


def render(report: dict[str, Any], films: dict[str, str] | None = None) -> str:
    """report.html for a collected report. Everything in ``report`` is untrusted text and is escaped.

    ``films``: data URI of the film by artifact id.
    """
    drawn = plots(report)
    colors = policy_colors(report["policies"])
    return (
        environment(TEMPLATES)
        .get_template("report.html.j2")
        .render(
            report=report,
            artifacts={entry["id"]: entry for entry in report["artifacts"]},
            policies={policy["id"]: policy for policy in report["policies"]},
            plots=drawn,
            marks=MARKS,
            films=films or {},
            colors={identity: (color, DARK[color]) for identity, color in colors.items()},
            sources=SOURCES,
            methods=METHODS,
            **frame(drawn),
        )
    )


def environment(templates: Path) -> Any:
    """Jinja with everything escaped, and the filters that say numbers."""
    jinja = require("jinja2", "report")
    made = jinja.Environment(
        loader=jinja.FileSystemLoader(templates),
        autoescape=True,
        undefined=jinja.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    markup = require("markupsafe", "report").Markup
    made.filters |= {
        "plain": numerals.plain,
        "size": numerals.size,
        "duration": numerals.duration,
        "percent": numerals.percent,
        "with_unit": numerals.with_unit,
        "listed": numerals.listed,
        "stored": stored_bytes,
        "flat": flat,
        "trend": lambda points: markup(trend(points)),
        "pairs": lambda value: ", ".join(f"{key} {item}" for key, item in value.items()),
        "ranges": lambda value: ", ".join(f"{key} [{start}, {stop})" for key, (start, stop) in value.items()),
        "pretty_json": lambda value: json.dumps(value, indent=2, ensure_ascii=False),
    }
    return made


def frame(drawn: dict[str, list[Plot]]) -> dict[str, Any]:
    """What a page needs to show its plots by itself: style, script, the plots of each section, plotly.js, and their hashes."""
    markup = require("markupsafe", "report").Markup
    library, packed = _plotly()
    script = (TEMPLATES / "report.js").read_text(encoding="utf-8")
    return {
        "css": markup((TEMPLATES / "report.css").read_text(encoding="utf-8")),
        "script": markup(script),
        "figures_json": markup(embedded_json({name: [plot["figure"] for plot in group] for name, group in drawn.items()})),
        "dark_json": markup(embedded_json(DARK)),
        "plotly_packed": markup(packed),
        "script_hashes": " ".join(f"'sha256-{_sha256(text)}'" for text in (script, library)),
    }


def embedded_json(value: Any) -> str:
    """JSON that cannot end the script element that holds it, nor open a comment in it."""
    text = json.dumps(value, separators=(",", ":"), allow_nan=False)  # ASCII only: U+2028 and friends are escaped too
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def flat(settings: dict[str, Any]) -> list[tuple[str, Any]]:
    """Nested settings as (name, value) in words: "host: cpu", what is empty left out."""
    pairs: list[tuple[str, Any]] = []
    for key, value in settings.items():
        name = str(key).replace("_", " ")
        if isinstance(value, dict):
            pairs += [(f"{name}: {inner}", item) for inner, item in flat(value)]
        elif value is not None:
            pairs.append((name, {True: "yes", False: "no"}[value] if isinstance(value, bool) else value))
    return pairs


def _sha256(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


@functools.lru_cache(maxsize=1)
def _plotly() -> tuple[str, str]:
    """(plotly.js, the same as gzip in base64): 4.8 MB become 2.0 MB, and the browser unpacks them."""
    library = require("plotly.offline", "report").get_plotlyjs()
    return library, base64.b64encode(gzip.compress(library.encode(), 9, mtime=0)).decode()
