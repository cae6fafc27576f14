"""Whether a saving is one: policies made in eight ways, built for targets, flown and timed there, as Markdown.

    python benchmarks/compression/savings.py P.policy … [-t crazyflie -t host-cpu …] [--episodes 100] [--json FILE] [--table FILE]

Each policy and target is one `pilotfish compress --explain`. "bytes": flash on a board, the artifact's main file elsewhere.
Cycles and board latencies are estimated from the executed binary; host latencies are measured here, one after the other.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from pilotfish.compress.explain import Explanation, Row, explain
from pilotfish.policy import Policy
from pilotfish.targets import load_target

COLUMNS = ("variant", "not zero", "return kept", "latency us", "cycles", "bytes", "RAM", "beside the original")


def main() -> None:
    """Explain every policy on every target."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("policies", nargs="+", type=Path)
    parser.add_argument("-t", "--target", action="append", default=[])
    parser.add_argument("--backend", default=None)
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--steps", type=int, default=20_000)
    parser.add_argument("--keep", type=float, default=0.95)
    parser.add_argument("--json", default="")
    parser.add_argument("--table", default="")
    options = parser.parse_args()
    pages: list[str] = []
    for path in options.policies:
        for name in options.target or ["crazyflie"]:
            with tempfile.TemporaryDirectory() as folder:
                told = explain(
                    Policy.load(path), load_target(name), Path(folder), backend=options.backend, episodes=options.episodes,
                    keep=options.keep, steps=options.steps, device="cpu", say=lambda line: print(line, flush=True),
                )  # fmt: skip
            pages.append(page(told, options.episodes))
            print(pages[-1], flush=True)
            if options.json:
                with Path(options.json).open("a") as file:
                    file.write(json.dumps(told.data()) + "\n")
            if options.table:
                Path(options.table).write_text("\n\n".join(pages) + "\n")


def page(told: Explanation, episodes: int) -> str:
    """One table with its verdict."""
    lines = [f"### {told.policy} on {told.target}, {episodes} episodes", "", "| " + " | ".join(COLUMNS) + " |"]
    lines.append("|" + "---|" * len(COLUMNS))
    lines += ["| " + " | ".join(_cells(row)) + " |" for row in told.rows]
    return "\n".join([*lines, "", f"{told.winner or 'No winner'}: {told.reason}."])


def _cells(row: Row) -> list[str]:
    name = f"{row.variant} ({row.backend})" if row.backend else row.variant
    if row.refused:
        return [name, *["—"] * 6, row.refused.replace("|", "/")]
    kept = row.figures.get("retained")
    share = "—"
    if kept and kept["value"] is not None:
        share = f"{100 * kept['value']:.1f} %" + (f" ({100 * kept['low']:.1f}–{100 * kept['high']:.1f})" if kept["low"] else "")
    size = row.figures.get("flash_bytes") or row.figures.get("artifact_bytes")
    figures = [row.figures.get("latency_us"), row.figures.get("cycles"), size, row.figures.get("ram_bytes")]
    return [name, f"{row.nonzero:,}", share, *map(_number, figures), row.verdict]


def _number(figure: dict[str, Any] | None) -> str:
    if figure is None or figure["value"] is None:
        return "—"
    value = figure["value"]
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


if __name__ == "__main__":
    main()
